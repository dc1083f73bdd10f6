"""SUN RGB-D."""

import numpy as np
import pytest
from helpers.fake_data import make_sun_rgbd
from PIL import Image

from refinenet_pl.data import SUNRGBDDataModule
from refinenet_pl.errors import UserError


def test_labels_are_numbered_over_both_splits(tmp_path):
    make_sun_rgbd(tmp_path)
    data = SUNRGBDDataModule(tmp_path)
    train, val = data.dataset("train"), data.dataset("val")
    assert [sample.mask.name for sample in train.samples if sample.mask] == ["img-005051.png", "img-005052.png"]
    assert [sample.mask.name for sample in val.samples if sample.mask] == ["img-000001.png"]
    stored = np.asarray(Image.open(tmp_path / "labels" / "img-005052.png")).astype(int)
    assert np.array_equal(train.mask(1), np.where(stored == 0, 255, stored - 1))
    data.setup("fit")  # equal file names of other images in two splits are fine


def test_classes_are_the_toolbox_s():
    names = SUNRGBDDataModule.classes.names
    assert len(names) == 37
    assert [names[index] for index in (0, 19, 23, 24, 36)] == ["wall", "floor mat", "refrigerator", "television", "bag"]


def test_missing_labels_are_told(tmp_path):
    make_sun_rgbd(tmp_path)
    (tmp_path / "labels" / "img-005052.png").unlink()
    with pytest.raises(UserError, match=r"1 of 4 files of the split are missing: .*img-005052\.png"):
        SUNRGBDDataModule(tmp_path).dataset("train")
