"""`refinenet data check`, `stats` and `show`."""

import shutil

import numpy as np
import pytest
from helpers.commands import refinenet
from helpers.fake_data import blocks, make_camvid, save_gray, save_image
from PIL import Image

from refinenet_pl.data import CamVidDataModule
from refinenet_pl.data.inspection import inspect, perceptual_hash, similar_images
from refinenet_pl.images import read_image


@pytest.fixture
def camvid(tmp_path, monkeypatch):
    """CamVid whose official counts are its own, and whose images are not flat."""
    root = make_camvid(tmp_path / "camvid", train=4, val=3, test=2, size=(64, 72))
    monkeypatch.setattr(CamVidDataModule, "official_counts", {"train": 4, "val": 3, "test": 2})
    for path in sorted(root.glob("*/*.png")):
        if "annot" not in str(path):
            seed = 10 * ("train", "val", "test").index(path.parent.name) + int(path.stem[-1])
            labels = blocks((64, 72), range(30, 200), seed=seed)
            Image.fromarray(np.stack([labels] * 3, axis=-1)).save(path)
    return root


def check(root, monkeypatch, capsys):
    status = refinenet(monkeypatch, "data", "check", "camvid", root)
    return status, capsys.readouterr().out


def test_good_data_has_no_problems(camvid, monkeypatch, capsys):
    status, out = check(camvid, monkeypatch, capsys)
    assert status == 0
    assert "train 4, val 3, test 2" in out
    assert out.endswith("\nno problems\n")


def test_all_problems_at_once(camvid, monkeypatch, capsys):
    monkeypatch.setattr(CamVidDataModule, "official_counts", {"train": 5, "val": 3})
    save_gray(camvid / "trainannot" / "train_0.png", np.zeros((32, 32), np.uint8))  # another size
    image = camvid / "train" / "train_1.png"
    image.write_bytes(image.read_bytes()[:200])  # truncated
    Image.open(camvid / "trainannot" / "train_2.png").save(camvid / "trainannot" / "train_2.jpg")
    (camvid / "trainannot" / "train_2.png").unlink()  # a JPEG label image
    save_gray(camvid / "valannot" / "val_0.png", np.full((64, 72), 77, np.uint8))  # no class
    shutil.copy(camvid / "train" / "train_3.png", camvid / "val" / "val_1.png")  # the same image
    Image.open(camvid / "train" / "train_0.png").save(camvid / "val" / "val_2.jpg", quality=60)  # nearly the same
    (camvid / "val" / "val_2.png").unlink()
    status, out = check(camvid, monkeypatch, capsys)
    assert status == 1
    problems = out.split("sample (")[1]
    for words in (
        "train_0.png: the label image is 32 x 32 pixels",
        "train_1.png: cannot be read as image",
        "train_2.jpg: labels are saved as JPEG",
        "val_0.png: contains label values that are not a class: 77",
        "train: found 4 samples; officially 5",
        "train/train_3 and val/val_1",
    ):
        assert words in problems, words
    assert "train/train_0 and val/val_2: " in out.split("similar images")[1]
    assert out.endswith("\n6 problems\n")


def test_missing_partner_is_a_problem(camvid, monkeypatch, capsys):
    (camvid / "val" / "val_0.png").unlink()
    status, out = check(camvid, monkeypatch, capsys)
    assert status == 1
    assert "split that cannot be listed (1)" in out
    assert "val_0.png" in out


def test_absent_classes_are_a_warning(camvid, monkeypatch, capsys):
    for path in (camvid / "valannot").iterdir():
        save_gray(path, np.full((64, 72), 3, np.uint8))
    status, out = check(camvid, monkeypatch, capsys)
    assert status == 0
    assert "class without pixels" in out
    assert "val: sky, building, pole, pavement" in out


def test_hash_is_that_of_neighbors(camvid):
    values = np.arange(72).reshape(8, 9)[:, ::-1] * 3
    values[0] = np.arange(9) * 20
    pixels = np.kron(values, np.ones((5, 4))).astype(np.uint8)
    Image.fromarray(pixels).save(camvid / "image.png")
    expected = np.zeros((8, 8), bool)
    expected[0] = True  # brighter to the right in the first row only
    found = perceptual_hash(read_image(camvid / "image.png"))
    assert np.array_equal(found, expected.ravel())
    Image.new("RGB", (40, 40), "gray").save(camvid / "image.png")
    assert perceptual_hash(read_image(camvid / "image.png")) is None


def test_distances_of_hashes(camvid):
    facts = inspect(CamVidDataModule(camvid).dataset("train"), 2, "")
    assert similar_images(facts, facts) == []  # equal images are no similar ones
    hashes = np.stack([sample.perceptual_hash for sample in facts])
    assert min((hashes[0] != other).sum() for other in hashes[1:]) > 4


def test_stats_are_numpy_s(camvid, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert refinenet(monkeypatch, "data", "stats", "camvid", camvid) == 0
    out = capsys.readouterr().out
    rows = {cells[1].strip(): cells[2:-1] for cells in (line.split("│") for line in out.splitlines()) if len(cells) > 6}
    labels = np.stack([np.asarray(Image.open(path)) for path in sorted((camvid / "trainannot").iterdir())])
    images = np.stack([np.asarray(Image.open(path)) for path in sorted((camvid / "train").iterdir())]) / 255
    for index, name in enumerate(CamVidDataModule.classes.names):
        stored, pixels, share, count, median, inverse = (cell.strip() for cell in rows[name])
        occurs = (labels == index).any((1, 2))
        assert stored == str(index)
        assert int(pixels.replace(",", "")) == (labels == index).sum()
        assert float(share) == pytest.approx(100 * (labels == index).mean(), abs=6e-4)
        assert int(count) == occurs.sum()
        fraction = (labels == index).sum() / (labels < 11).sum()
        assert float(inverse) == pytest.approx(1 / np.log(1.02 + fraction), abs=6e-4)
        assert float(median) > 0
    assert rows["ignored"][0].strip() == "11, 255"
    assert int(rows["ignored"][1].replace(",", "")) == (labels == 11).sum()
    mean, deviation = out.split("mean ")[-1].split("; standard deviation ")
    assert [float(value) for value in mean.split(", ")] == pytest.approx(images.mean((0, 1, 2)), abs=6e-5)
    assert [float(value) for value in deviation.split(", ")] == pytest.approx(images.std((0, 1, 2)), abs=6e-5)
    assert "smallest 64 x 72, median 64 x 72, largest 64 x 72; 1 different" in out


def test_stats_of_wrong_data_name_the_sample(camvid, monkeypatch, capsys):
    save_gray(camvid / "trainannot" / "train_0.png", np.zeros((32, 32), np.uint8))
    assert refinenet(monkeypatch, "data", "stats", "camvid", camvid) == 2
    assert "1 samples are wrong, such as: " in capsys.readouterr().err


def test_show_writes_both_sheets(camvid, tmp_path, monkeypatch, capsys):
    sheets = []
    for seed in ("0", "0", "1"):
        folder = tmp_path / f"sheets{len(sheets)}"
        words = ["data", "show", "camvid", camvid, "-o", folder, "--count=3", f"--seed={seed}"]
        assert refinenet(monkeypatch, *words) == 0
        sheets.append({name: np.asarray(Image.open(folder / f"{name}.png")) for name in ("labels", "augmented")})
    first, again, other = sheets
    assert np.array_equal(first["augmented"], again["augmented"])
    assert np.array_equal(first["labels"], other["labels"])
    assert not np.array_equal(first["augmented"], other["augmented"])
    colors = {tuple(color) for color in first["labels"][..., :3].reshape(-1, 3).tolist()}
    assert {*CamVidDataModule.classes.colors} <= colors


def test_show_replaces_no_input(camvid, monkeypatch, capsys):
    for folder in ("train", "trainannot"):
        (camvid / folder / "train_0.png").rename(camvid / folder / "labels.png")
    before = (camvid / "train" / "labels.png").read_bytes()
    assert refinenet(monkeypatch, "data", "show", "camvid", camvid, "-o", camvid / "train") == 2
    assert "labels.png: this input would be replaced" in capsys.readouterr().err
    assert (camvid / "train" / "labels.png").read_bytes() == before


def test_show_of_evaluation_splits_has_no_augmentation(camvid, tmp_path, monkeypatch):
    words = ["data", "show", "camvid", camvid, "-o", tmp_path / "sheets", "--split=val"]
    assert refinenet(monkeypatch, *words) == 0
    assert [path.name for path in (tmp_path / "sheets").iterdir()] == ["labels.png"]
    save_image(tmp_path / "x.png", blocks((8, 8), (0, 1), 0))
    assert refinenet(monkeypatch, *words[:-1], "--count=0") == 2
