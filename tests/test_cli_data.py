"""`refinenet data`: datasets by name or by yaml."""

import shutil

import pytest
import yaml
from helpers.commands import refinenet
from helpers.fake_data import make_camvid, make_nyudv2

from refinenet_pl.data import CamVidDataModule


@pytest.fixture
def camvid(tmp_path, monkeypatch):
    """A folder with CamVid in it; the official counts are its own."""
    make_camvid(tmp_path / "camvid")
    monkeypatch.setattr(CamVidDataModule, "official_counts", {"train": 4, "val": 3, "test": 2}, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "camvid"


def test_prepare_counts_the_samples(camvid, monkeypatch, capsys):
    assert refinenet(monkeypatch, "data", "prepare", "camvid", camvid) == 0
    rows = [line.split("│")[1:4] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["train", "4", "4"],
        ["val", "3", "3"],
        ["test", "2", "2"],
    ]


def test_prepare_tells_missing_samples(camvid, monkeypatch, capsys):
    for folder in ("val", "valannot"):
        (camvid / folder / "val_0.png").unlink()
    assert refinenet(monkeypatch, "data", "prepare", "camvid", camvid) == 1
    assert "differs from the official splits" in capsys.readouterr().out


def test_prepare_says_what_to_fetch(tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "data", "prepare", "cityscapes", tmp_path) == 2
    error = capsys.readouterr().err
    assert "leftImg8bit/train: no such folder" in error
    assert "https://www.cityscapes-dataset.com (login required)" in error


def test_prepare_unpacks_a_compressed_tar_once(camvid, monkeypatch, capsys):
    packed = shutil.make_archive(str(camvid.parent / "packed" / "camvid"), "gztar", camvid)
    for written in (True, False):
        assert refinenet(monkeypatch, "data", "prepare", "camvid", camvid.parent / "packed") == 0
        assert ("wrote" in capsys.readouterr().out) == written
    assert {path.name for path in (camvid.parent / "packed").iterdir()} == {"camvid.tar.gz", "camvid.tar"}
    assert packed.endswith("camvid.tar.gz")


def test_prepare_a_yaml(camvid, monkeypatch, capsys):
    init_args = {
        "root": "nowhere", "images": "{split}", "masks": "{split}annot", "class_names": [f"c{i}" for i in range(12)],
    }  # fmt: skip
    config = {"data": {"class_path": "FolderDataModule", "init_args": init_args}, "trainer": {"max_epochs": 3}}
    (camvid.parent / "own.yaml").write_text(yaml.safe_dump(config))
    assert refinenet(monkeypatch, "data", "prepare", "own.yaml", camvid) == 0
    assert "next: refinenet data check own.yaml" in capsys.readouterr().out
    assert refinenet(monkeypatch, "data", "prepare", "own.yaml") == 2
    assert "data.images: nowhere/train: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["camvis", "x"], "camvis: neither a dataset nor a file; expected a yaml, or one of "),
        (["camvid"], "camvid: expected the folder of the dataset after the name"),
        (["empty.yaml"], "data"),
    ],
)
def test_unknown_datasets_are_told(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.yaml").write_text("trainer: {max_epochs: 1}\n")
    assert refinenet(monkeypatch, "data", "prepare", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("refinenet: error: ")
    assert message in error


def test_wrong_option_names_the_command(tmp_path, monkeypatch, capsys):
    make_nyudv2(tmp_path / "nyudv2")
    assert refinenet(monkeypatch, "data", "prepare", "nyudv2", tmp_path / "nyudv2", "--split=train") == 2
    assert "see refinenet data prepare --help" in capsys.readouterr().err
