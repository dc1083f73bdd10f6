"""`predict` on folders as people have them: what it writes, and that it mixes, loses and replaces nothing."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TINY_TRAINER, refinenet
from PIL import Image

from refinenet_pl import load
from refinenet_pl.data.camvid import CAMVID
from refinenet_pl.evaluation.pictures import contours


@pytest.fixture
def photos(tmp_path: Path, fake_camvid: Path) -> Path:
    """Folder of two images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "c"):
        shutil.copy(fake_camvid / "val" / "val_0.png", folder / f"{name}.png")
    return folder


@pytest.fixture
def predict(trained_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run `predict` on the photos."""

    def run(output: Path, *options: str | Path) -> int:
        command = ["predict", "--ckpt_path", trained_run, *TINY_TRAINER, "--num_workers=0", "--images", photos]
        return refinenet(monkeypatch, *command, f"--output={output}", f"--runs={tmp_path / 'runs'}", *options)

    return run


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_photographs_are_never_replaced(predict, photos, capsys):
    photos.rename(photos.with_name("masks"))
    photos.symlink_to(photos.with_name("masks"))
    before = snapshot(photos)
    assert predict(photos.parent) == 2
    assert snapshot(photos) == before
    assert "photos/a.png: this input would be replaced by the result of" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nope"])
def test_output_that_cannot_be_written(predict, tmp_path, capsys, place):
    (tmp_path / "file").write_bytes(b"old")
    assert predict(tmp_path / place) == 2
    assert "cannot write into this folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_image_does_not_stop_the_others(predict, photos, tmp_path, capsys, workers):
    (photos / "b.png").write_bytes(b"")
    assert predict(tmp_path / "out", f"--num_workers={workers}") == 1
    assert sorted(snapshot(tmp_path / "out")) == [
        *("legend.png", "manifest.json", "masks/a.png", "masks/c.png", "overlays/a.png", "overlays/c.png", "shares.csv")
    ]
    error = capsys.readouterr().err
    assert "1 file could not be read; all others are predicted:" in error
    assert "photos/b.png: cannot be read as image" in error
    assert "Traceback" not in error


def test_one_pixel_and_other_modes(predict, photos, tmp_path):
    Image.new("L", (1, 1)).save(photos / "one.png")
    Image.new("CMYK", (20, 10)).save(photos / "cmyk.tif")
    Image.fromarray(np.zeros((3, 200), np.uint16)).save(photos / "thin.png")
    assert predict(tmp_path / "out") == 0
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "out" / "masks").glob("*.png")}
    assert (sizes["one.png"], sizes["cmyk.png"], sizes["thin.png"]) == ((1, 1), (20, 10), (200, 3))


def test_linked_folders_are_predicted(predict, photos, tmp_path):
    (tmp_path / "store").mkdir()
    (photos / "c.png").rename(tmp_path / "store" / "c.png")
    (photos / "linked").symlink_to(tmp_path / "store")
    assert predict(tmp_path / "out") == 0
    assert (tmp_path / "out" / "masks" / "linked" / "c.png").is_file()


def rgb(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_stopped_prediction_goes_on(predict, photos, tmp_path, trained_run, capsys):
    shutil.copy(photos / "a.png", photos / "b.png")
    options = ("--probabilities=true", "--opacity=0")
    assert predict(tmp_path / "whole", *options) == 0
    assert "predicted 3 files: " in capsys.readouterr().out
    # A fraction, because the order of Union[int, float] depends on the packages that a process imported before, and 1.0
    # is the whole.
    assert predict(tmp_path / "parts", *options, "--trainer.limit_predict_batches=0.34") == 0
    first = tmp_path / "parts" / "masks" / "a.png"
    written = first.stat().st_mtime_ns
    assert predict(tmp_path / "parts", *options) == 0
    assert "predicted 2 files; skipped 1 file that had been predicted before" in capsys.readouterr().out
    assert first.stat().st_mtime_ns == written
    assert snapshot(tmp_path / "parts") == snapshot(tmp_path / "whole")

    # A missing file and another image of the same name are predicted again.
    (tmp_path / "parts" / "overlays" / "c.png").unlink()
    Image.fromarray(255 - rgb(photos / "b.png")).save(photos / "b.png")
    assert predict(tmp_path / "parts", *options) == 0
    assert "predicted 2 files; skipped 1 file" in capsys.readouterr().out
    differing = {name for name, content in snapshot(tmp_path / "whole").items()
                 if snapshot(tmp_path / "parts")[name] != content}  # fmt: skip
    assert differing == {"masks/b.png", "overlays/b.png", "probabilities/b.npz", "shares.csv"}
    check_files(tmp_path / "parts", photos, trained_run)


def check_files(output: Path, photos: Path, run: Path) -> None:
    """Compare the files of a prediction with opacity 0 and probabilities with those of Python."""
    segmenter = load(run)
    shares = {row.pop("image"): row for row in csv.DictReader((output / "shares.csv").open())}
    assert [*shares] == ["a", "b", "c"]
    for name, row in shares.items():
        image = rgb(photos / f"{name}.png")
        mask = np.asarray(Image.open(output / "masks" / f"{name}.png"))
        np.testing.assert_array_equal(mask, segmenter.predict(image))
        assert [*row] == list(CAMVID.names)
        counts = [(mask == index).sum() / mask.size for index in range(11)]
        assert [float(share) for share in row.values()] == pytest.approx(counts, abs=1e-6)
        with np.load(output / "probabilities" / f"{name}.npz", allow_pickle=False) as file:
            assert file["class_names"].tolist() == list(CAMVID.names)
            assert file["probabilities"].dtype == np.float16
            np.testing.assert_allclose(file["probabilities"], segmenter.probabilities(image), atol=1e-3)
        overlay, lines = rgb(output / "overlays" / f"{name}.png"), contours(mask)
        np.testing.assert_array_equal(overlay[~lines], image[~lines])
        np.testing.assert_array_equal(overlay[lines], np.array(CAMVID.colors)[mask[lines]])
    assert set(CAMVID.colors) <= {tuple(color) for color in rgb(output / "legend.png").reshape(-1, 3).tolist()}


def test_predictions_of_two_settings_are_never_mixed(predict, photos, tmp_path, trained_run, capsys):
    out = tmp_path / "out"
    assert predict(out) == 0
    before = snapshot(out)
    other = trained_run / "checkpoints" / "last.ckpt"
    for options, words in (
        (["--model.inference.flip=true"], "model.inference.flip is True and was False"),
        (["--opacity=0.2"], "opacity is 0.2 and was 0.5"),
        (["--probabilities=true"], "probabilities is True and was False"),
        (["--ckpt_path", other], "checkpoint is '"),
    ):
        assert predict(out, *options) == 2
        error = capsys.readouterr().err
        assert words in error
        assert f"They are of {trained_run}/checkpoints/best.ckpt." in error
        assert "choose another --output, or delete this folder" in error
        assert snapshot(out) == before
    # The path of the checkpoint does not matter.
    copy = shutil.copy(trained_run / "checkpoints" / "best.ckpt", tmp_path / "copy.ckpt")
    assert predict(out, "--ckpt_path", copy) == 0
    assert "predicted 0 files; skipped 2 files" in capsys.readouterr().out
    assert snapshot(out) == before
