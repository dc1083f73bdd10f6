"""SUN RGB-D."""

import shutil

import numpy as np
import pytest
from helpers.fake_data import make_sun_rgbd
from PIL import Image

from refinenet_pl.data import SUNRGBDDataModule
from refinenet_pl.data.plain_tars import write_plain_tars
from refinenet_pl.errors import UserError

# The toolbox's seg37list, as the README of sunrgbd-meta-data prints it.
LISTED = (
    "wall floor cabinet bed chair sofa table door window bookshelf picture counter blinds desk shelves curtain dresser "
    "pillow mirror floor_mat clothes ceiling books fridge tv paper towel shower_curtain box whiteboard person "
    "night_stand toilet sink lamp bathtub bag"
)
RENAMED = {"fridge": "refrigerator", "tv": "television"}  # to NYU's names
ARCHIVES = {"train": "SUNRGBD-train_images", "test": "SUNRGBD-test_images", "labels": "sunrgbd_train_test_labels"}


def masks(data, split):
    return [sample.mask.name for sample in data.samples(split)]


def test_labels_are_numbered_over_both_splits(tmp_path):
    make_sun_rgbd(tmp_path)
    data = SUNRGBDDataModule(tmp_path)
    train = data.dataset("train")
    assert masks(data, "train") == ["img-005051.png", "img-005052.png"]
    assert masks(data, "val") == masks(data, "test") == ["img-000001.png"]
    stored = np.asarray(Image.open(tmp_path / "labels" / "img-005052.png")).astype(int)
    assert np.array_equal(train.mask(1), np.where(stored == 0, 255, stored - 1))
    data.setup("fit")  # equal file names of other images in two splits are fine


def test_classes_are_the_toolbox_s():
    names = [RENAMED.get(name, name.replace("_", " ")) for name in LISTED.split()]
    assert SUNRGBDDataModule.classes.names == tuple(names)
    assert len(names) == 37


@pytest.mark.parametrize("form", ["folders", "archives"])
def test_archives_names_and_content(form, tmp_path):
    make_sun_rgbd(tmp_path / "named")
    expected = SUNRGBDDataModule(tmp_path / "named")
    root = tmp_path / "root"
    root.mkdir()
    for folder, name in ARCHIVES.items():
        if form == "folders":
            shutil.copytree(tmp_path / "named" / folder, root / name)
        else:
            made = shutil.make_archive(str(tmp_path / name), "gztar", tmp_path / "named" / folder)
            shutil.move(made, root / f"{name}{'.tar.gz' if folder == 'labels' else '.tgz'}")
    if form == "archives":
        with pytest.raises(UserError, match=r"SUNRGBD-train_images: no such folder(.|\n)*see refinenet data prepare"):
            SUNRGBDDataModule(root).samples("train")
        assert len(write_plain_tars(root)) == 3
    data = SUNRGBDDataModule(root)
    for split in ("train", "val"):
        for found, other in zip(data.samples(split), expected.samples(split), strict=True):
            assert found.name == other.name
            assert found.image.read_bytes() == other.image.read_bytes()
            assert found.mask is not None
            assert other.mask is not None
            assert found.mask.read_bytes() == other.mask.read_bytes()


@pytest.mark.parametrize("name", ["img-005286.jpg", "img-000000.jpg", "img-000001 (1).jpg", "photo.jpg"])
def test_other_numbers_are_refused(name, tmp_path):
    folder = make_sun_rgbd(tmp_path) / "train"
    shutil.copy(folder / "img-000001.jpg", folder / name)
    with pytest.raises(UserError, match=r"expected the names img-000001 to img-005285"):
        SUNRGBDDataModule(tmp_path).samples("train")


def test_missing_files_are_told(tmp_path):
    make_sun_rgbd(tmp_path)
    (tmp_path / "labels" / "img-005052.png").unlink()
    with pytest.raises(UserError, match=r"1 of 4 files of the split are missing: .*img-005052\.png"):
        SUNRGBDDataModule(tmp_path).dataset("train")
    (tmp_path / "test" / "img-000001.jpg").unlink()
    with pytest.raises(UserError, match=r"test: no images; expected img-000001\.jpg"):
        SUNRGBDDataModule(tmp_path).dataset("val")
    with pytest.raises(UserError, match=r"SUNRGBD-train_images: no such folder(.|\n)*sunrgbd-meta-data"):
        SUNRGBDDataModule(tmp_path / "nowhere").dataset("train")
