import numpy as np
import pytest
from helpers.fake_data import blocks, make_cityscapes

from refinenet_pl.data.cityscapes import CITYSCAPES, CityscapesDataModule
from refinenet_pl.errors import UserError

# From the label definitions of the official scripts: name, id, train id.
OFFICIAL = [
    ("road", 7, 0),
    ("sidewalk", 8, 1),
    ("building", 11, 2),
    ("wall", 12, 3),
    ("fence", 13, 4),
    ("pole", 17, 5),
    ("traffic light", 19, 6),
    ("traffic sign", 20, 7),
    ("vegetation", 21, 8),
    ("terrain", 22, 9),
    ("sky", 23, 10),
    ("person", 24, 11),
    ("rider", 25, 12),
    ("car", 26, 13),
    ("truck", 27, 14),
    ("bus", 28, 15),
    ("train", 31, 16),
    ("motorcycle", 32, 17),
    ("bicycle", 33, 18),
]


def test_labels_become_the_official_train_ids_and_all_others_void(tmp_path):
    sample = CityscapesDataModule(make_cityscapes(tmp_path)).dataset("val")[0]
    labels = blocks((32, 64), [*range(34), 255], seed=0, block=4)
    expected = np.full_like(labels, 255)
    for _, label, train_id in OFFICIAL:
        expected[labels == label] = train_id
    assert np.array_equal(sample["mask"], expected)
    assert CITYSCAPES.names == tuple(name for name, _, _ in OFFICIAL)


def test_the_samples_of_all_cities_are_paired(tmp_path):
    (make_cityscapes(tmp_path) / "leftImg8bit" / "train" / ".DS_Store").write_bytes(b"")
    samples = CityscapesDataModule(tmp_path).samples("train")
    assert [sample.name for sample in samples] == ["aachen_000000_000019", "bremen_000000_000019"]
    masks = [sample.mask.name for sample in samples if sample.mask]
    assert masks == [f"{sample.name}_gtFine_labelIds.png" for sample in samples]


def test_an_image_without_labels_is_an_error_that_names_it(tmp_path):
    next((make_cityscapes(tmp_path) / "gtFine" / "train" / "bremen").glob("*labelIds.png")).unlink()
    with pytest.raises(UserError, match=r"1 of 2 files.*bremen_000000_000019_leftImg8bit\.png"):
        CityscapesDataModule(tmp_path).samples("train")


def test_missing_annotations_are_an_error_that_names_the_archives(tmp_path):
    make_cityscapes(tmp_path).joinpath("gtFine").rename(tmp_path / "elsewhere")
    with pytest.raises(
        UserError, match=r"(?s)gtFine/train: no such folder.*gtFine_trainvaltest\.zip.*gtFine/train/<ci"
    ):
        CityscapesDataModule(tmp_path).setup("fit")


def test_test_labels_are_not_public(tmp_path):
    with pytest.raises(UserError, match=r"not public.*`validate`.*`predict`"):
        CityscapesDataModule(make_cityscapes(tmp_path)).setup("test")
