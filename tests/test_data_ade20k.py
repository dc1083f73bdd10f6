"""ADE20K."""

import numpy as np
import pytest
from helpers.fake_data import make_ade20k
from PIL import Image

from refinenet_pl.data import ADE20KDataModule
from refinenet_pl.data.ade20k import ADE20K
from refinenet_pl.errors import UserError


def test_classes():
    assert len(ADE20K) == 150 == len({*ADE20K.names}) == len({*ADE20K.colors}) + 1  # two classes share (140, 140, 140)
    assert [ADE20K.names[index] for index in (0, 1, 12, 149)] == ["wall", "building", "person", "flag"]
    assert [ADE20K.colors[index] for index in (0, 2, 149)] == [(120, 120, 120), (6, 230, 230), (92, 0, 255)]


@pytest.mark.parametrize("inner", ["", "ADEChallengeData2016"])
def test_labels_start_at_one(inner, tmp_path):
    make_ade20k(tmp_path)
    dataset = ADE20KDataModule(tmp_path / inner).dataset("val")
    stored = np.asarray(Image.open(str(dataset.samples[0].mask))).astype(int)
    assert np.array_equal(dataset[0]["mask"], np.where(stored == 0, 255, stored - 1))
    assert dataset.samples[0].name == "ADE_val_00000001"


def test_unusable_folders_are_told(tmp_path):
    make_ade20k(tmp_path)
    with pytest.raises(UserError, match="test labels are not public"):
        ADE20KDataModule(tmp_path).dataset("test")
    with pytest.raises(UserError, match=r"images/training: no such folder(.|\n)*sceneparsing"):
        ADE20KDataModule(tmp_path / "nowhere").dataset("train")
