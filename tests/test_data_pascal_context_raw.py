"""PASCAL-Context as it is downloaded: lists, numbers of samples, and PASCAL in Detail's JSON."""

import json
import tarfile

import numpy as np
import pytest
from helpers.fake_data import save_image, save_list
from scipy.io import savemat

from refinenet_pl.data.pascal_context import PASCAL_CONTEXT, PascalContextDataModule
from refinenet_pl.errors import UserError

DEVKIT = "VOCdevkit/VOC2010"
RAW = np.array([[0, 1, 2, 9], [18, 284, 458, 459]])  # raw labels of an image, 2 x 4
NAMES = [["background", "background", "aeroplane", "bag"], ["bed", "person", "wood", "background"]]


def make_voc2010(root):
    """Write the parts of VOC 2010 that matter: images, and the lists of all images."""
    for name in "abc":
        save_image(root / DEVKIT / "JPEGImages" / f"{name}.jpg", np.zeros((2, 4), np.uint8))
    save_list(root / DEVKIT / "ImageSets" / "Main" / "train.txt", ["b", "a"])
    save_list(root / DEVKIT / "ImageSets" / "Main" / "val.txt", ["c"])
    return root


def make_release(root):
    """Write the release of 459 labels beside VOC 2010."""
    (make_voc2010(root) / "trainval").mkdir()
    for name in "abc":
        savemat(root / "trainval" / f"{name}.mat", {"LabelMap": RAW.astype(np.uint16)})
    return root


def make_detail(folder, size=(2, 4)):
    """Write PASCAL in Detail's JSON, where a is for training, c for validation, and b for the test."""
    images, segmentations = [], []
    for number, (name, phase) in enumerate({"a": "train", "b": "test", "c": "val"}.items()):
        image = {"image_id": 2008000000 + number, "file_name": f"{name}.jpg", "phase": phase}
        images.append(image | {"height": size[0], "width": size[1]})
        for label in RAW[RAW > 0].tolist():
            before = int(np.flatnonzero(RAW.T.ravel() == label)[0])  # down the columns
            runs = {"counts": [before, 1, RAW.size - before - 1], "size": [2, 4]}
            segmentations.append(
                {"image_id": image["image_id"], "category_id": label, "segmentation": runs, "parts": []}
            )
    (folder / "trainval_merged.json").write_text(json.dumps({"images": images, "annos_segmentation": segmentations}))


def names(data, split):
    return [sample.name for sample in data.samples(split)]


def class_names(data, split):
    return [[PASCAL_CONTEXT.names[index] for index in row] for row in data.dataset(split).mask(0).tolist()]


def test_release_has_voc_split(tmp_path):
    data = PascalContextDataModule(make_release(tmp_path))
    assert (names(data, "train"), names(data, "val")) == (["b", "a"], ["c"])
    assert class_names(data, "val") == NAMES
    assert data.official_counts == {"train": 4998, "val": 5105}  # all 10,103 images of VOC 2010


def test_own_lists_come_first(tmp_path):
    save_list(make_release(tmp_path) / DEVKIT / "ImageSets" / "SegmentationContext" / "train.txt", ["c"])
    assert names(PascalContextDataModule(tmp_path), "train") == ["c"]


@pytest.mark.parametrize("folder", ["", DEVKIT])
def test_detail_json_at_either_place(folder, tmp_path):
    make_detail(make_voc2010(tmp_path) / folder)
    data = PascalContextDataModule(tmp_path)
    data.convert()
    assert (names(data, "train"), names(data, "val")) == (["a"], ["c"])
    assert class_names(data, "val") == NAMES
    assert data.official_counts == {"train": 4996, "val": 5104}


def test_detail_json_beside_tar_of_voc(tmp_path):
    make_voc2010(tmp_path / "unpacked")
    (tmp_path / "root").mkdir()
    with tarfile.open(tmp_path / "root" / "VOCtrainval_03-May-2010.tar", "w") as tar:
        tar.add(tmp_path / "unpacked" / "VOCdevkit", "VOCdevkit")
    make_detail(tmp_path / "root")
    PascalContextDataModule(tmp_path / "root").convert()
    data = PascalContextDataModule(tmp_path / "root")
    assert (names(data, "train"), names(data, "val")) == (["a"], ["c"])
    assert class_names(data, "train") == NAMES
    assert data.dataset("val")[0]["image"].shape == (3, 2, 4)


def test_lists_that_exist_are_kept(tmp_path):
    make_detail(make_voc2010(tmp_path))
    save_list(tmp_path / DEVKIT / "ImageSets" / "SegmentationContext" / "val.txt", ["a"])
    data = PascalContextDataModule(tmp_path)
    data.convert()
    assert names(data, "val") == ["a"]


def test_missing_images_stop_conversion(tmp_path):
    make_detail(tmp_path)
    with pytest.raises(UserError, match=r"VOC2010/JPEGImages: no such folder"):
        PascalContextDataModule(tmp_path).convert()
    assert [path.name for path in tmp_path.iterdir()] == ["trainval_merged.json"]


@pytest.mark.parametrize("size", [(1_000_000, 1_000_000), (-2, 4), (0, 4)])
def test_impossible_sizes_are_refused(size, tmp_path):
    make_detail(make_voc2010(tmp_path), size)
    with pytest.raises(UserError, match=rf"trainval_merged\.json: .*found an image of {size[0]} x {size[1]} pixels"):
        PascalContextDataModule(tmp_path).convert()
