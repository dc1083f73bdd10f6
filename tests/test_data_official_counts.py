"""The numbers of samples of official splits, compared with the lists and folders of real datasets."""

import pytest

from refinenet_pl.data import (
    CamVidDataModule,
    NYUDv2DataModule,
    PersonPartDataModule,
    VOCDataModule,
)


@pytest.mark.parametrize(
    ("module", "lists"),
    [
        (NYUDv2DataModule("root"), {"train": "nyudv2_train", "val": "nyudv2_test", "test": "nyudv2_test"}),
        (PersonPartDataModule("root"), {"train": "person_part_train", "val": "person_part_val"}),
        (VOCDataModule("root"), {"train": "voc_train", "val": "voc_val"}),
        (VOCDataModule("root", "trainaug"), {"train": "voc_trainaug", "val": "voc_val"}),
    ],
    ids=["nyudv2", "person_part", "voc", "trainaug"],
)
def test_counts_of_official_lists(module, lists, real_data):
    counted = {split: len((real_data / "splits" / f"{name}.txt").read_text().split()) for split, name in lists.items()}
    assert module.official_counts == counted


def test_counts_of_camvid(real_data):
    counted = {split: len([*(real_data / "camvid" / split).glob("*.png")]) for split in ("train", "val")}
    assert {**CamVidDataModule.official_counts, **counted} == CamVidDataModule.official_counts


def test_trainaug_changes_one_module_only(tmp_path):
    VOCDataModule(tmp_path, "trainaug")
    assert VOCDataModule(tmp_path).official_counts == {"train": 1464, "val": 1449}
