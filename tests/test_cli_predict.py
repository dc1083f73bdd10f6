"""`predict` on folders as people have them: inputs are kept, and what cannot be read or written is named."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import TINY_TRAINER, refinenet
from PIL import Image


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
    before = snapshot(photos)
    assert predict(photos) == 2
    assert snapshot(photos) == before
    assert "photos/a.png: this input would be replaced by the result of" in capsys.readouterr().err


def test_colliding_results_are_refused(predict, photos, tmp_path, capsys):
    shutil.copy(photos / "a.png", photos / "a_overlay.png")
    assert predict(tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "photos/a.png and " in error
    assert "photos/a_overlay.png: both would be written to" in error
    assert not (tmp_path / "out").exists()


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
    assert sorted(snapshot(tmp_path / "out")) == ["a.png", "a_overlay.png", "c.png", "c_overlay.png"]
    error = capsys.readouterr().err
    assert "1 image could not be read; all others are predicted:" in error
    assert "photos/b.png: cannot be read as image" in error
    assert "Traceback" not in error


def test_one_pixel_and_other_modes(predict, photos, tmp_path):
    Image.new("L", (1, 1)).save(photos / "one.png")
    Image.new("CMYK", (20, 10)).save(photos / "cmyk.tif")
    Image.fromarray(np.zeros((3, 200), np.uint16)).save(photos / "thin.png")
    assert predict(tmp_path / "out") == 0
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "out").glob("*.png")}
    assert (sizes["one.png"], sizes["cmyk.png"], sizes["thin.png"]) == ((1, 1), (20, 10), (200, 3))


def test_linked_folders_are_predicted(predict, photos, tmp_path):
    (tmp_path / "store").mkdir()
    (photos / "c.png").rename(tmp_path / "store" / "c.png")
    (photos / "linked").symlink_to(tmp_path / "store")
    assert predict(tmp_path / "out") == 0
    assert (tmp_path / "out" / "linked" / "c.png").is_file()
