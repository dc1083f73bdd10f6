"""Cityscapes: the class table, pairs of files, and label ids."""

import numpy as np
import pytest
from helpers.fake_data import blocks, make_cityscapes

from refinenet_pl.data.cityscapes import CITYSCAPES, EVALUATED_IDS, CityscapesDataModule
from refinenet_pl.errors import UserError

# Name, label id and color of the 19 evaluated classes, in the order of their class indices.
EXPECTED = [
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
]


def test_classes_match_expected_table():
    assert list(zip(CITYSCAPES.names, EVALUATED_IDS, CITYSCAPES.colors, strict=True)) == EXPECTED


def test_classes_match_cityscapesscripts():
    rows = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    evaluated = sorted((row for row in rows if 0 <= row.trainId < 255), key=lambda row: row.trainId)
    assert [row.trainId for row in evaluated] == list(range(len(CITYSCAPES)))
    assert [(row.name, row.id, row.color) for row in evaluated] == EXPECTED
    ignored = {row.id % 256: 255 for row in rows if not 0 <= row.trainId < 255}
    assert CityscapesDataModule.encoding == ignored | {row.id: row.trainId for row in evaluated}


def test_ids_on_disk_become_indices(tmp_path):
    sample = CityscapesDataModule(make_cityscapes(tmp_path)).dataset("val")[0]
    labels = blocks((32, 64), [*range(34), 255], seed=0, block=4)
    expected = np.full_like(labels, 255)
    for index, (_, label, _) in enumerate(EXPECTED):
        expected[labels == label] = index
    assert np.array_equal(sample["mask"], expected)


def test_all_cities_are_paired(tmp_path):
    (make_cityscapes(tmp_path) / "leftImg8bit" / "train" / ".DS_Store").write_bytes(b"")
    samples = CityscapesDataModule(tmp_path).samples("train")
    assert [sample.name for sample in samples] == ["aachen_000000_000019", "bremen_000000_000019"]
    masks = [sample.mask.name for sample in samples if sample.mask]
    assert masks == [f"{sample.name}_gtFine_labelIds.png" for sample in samples]


def test_unpaired_image_is_named(tmp_path):
    next((make_cityscapes(tmp_path) / "gtFine" / "train" / "bremen").glob("*labelIds.png")).unlink()
    with pytest.raises(UserError, match=r"1 of 2 samples.*bremen_000000_000019_leftImg8bit\.png"):
        CityscapesDataModule(tmp_path).samples("train")


def test_missing_folder_names_archives(tmp_path):
    make_cityscapes(tmp_path).joinpath("gtFine").rename(tmp_path / "elsewhere")
    with pytest.raises(
        UserError, match=r"(?s)gtFine/train: no such folder.*gtFine_trainvaltest\.zip.*gtFine/train/<ci"
    ):
        CityscapesDataModule(tmp_path).setup("fit")


def test_test_split_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"not public.*`validate`.*`predict`"):
        CityscapesDataModule(make_cityscapes(tmp_path)).setup("test")
