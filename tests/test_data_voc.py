"""PASCAL VOC: list files, SBD's labels, download, and the real images."""

from pathlib import Path

import numpy as np
import pytest
from helpers.fake_data import blocks, make_sbd, make_voc, save_list
from PIL import Image

from refinenet_pl.data import classes
from refinenet_pl.data.lists import listed_names, listed_samples
from refinenet_pl.data.voc import VOC, VOCDataModule
from refinenet_pl.errors import UserError

TRAIN, VAL = ["2007_b", "2007_a"], ["2007_c"]


def names(data, split):
    return [sample.name for sample in data.samples(split)]


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_root_may_be_any_parent(tmp_path, below):
    data = VOCDataModule(make_voc(tmp_path, TRAIN, VAL) / below)
    assert names(data, "train") == TRAIN
    assert names(data, "val") == VAL


def test_palette_labels_255_is_ignored(tmp_path):
    sample = VOCDataModule(make_voc(tmp_path, TRAIN, VAL)).dataset("val")[0]
    labels = blocks((46, 52), [*range(21), 255], seed=2)  # the third image
    assert np.array_equal(sample["mask"], labels)
    assert sample["image"].shape == (3, 46, 52)


def test_test_split_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"not public.*`validate`.*`predict`"):
        VOCDataModule(make_voc(tmp_path, TRAIN, VAL)).test_dataloader()


def test_missing_root_names_source(tmp_path):
    with pytest.raises(UserError, match=r"(?s)no such folder.*host\.robots\.ox\.ac\.uk.*data\.download=true"):
        VOCDataModule(tmp_path / "nothing").setup("fit")


def test_missing_list_is_named(tmp_path):
    (make_voc(tmp_path, TRAIN, VAL) / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(UserError, match=r"val\.txt: no such file"):
        VOCDataModule(tmp_path).setup("fit")


def test_missing_images_are_counted(tmp_path):
    (make_voc(tmp_path, TRAIN, VAL) / "VOCdevkit/VOC2012/SegmentationClass/2007_a.png").unlink()
    with pytest.raises(UserError, match=r"1 of 4 files.*2007_a\.png"):
        VOCDataModule(tmp_path).samples("train")


def augmented(root, **kwargs):
    return VOCDataModule(root, train_split="trainaug", **kwargs)


def test_trainaug_from_png_and_list(tmp_path):
    data = augmented(make_voc(tmp_path, TRAIN, VAL, augmented=[*TRAIN, "2008_x"]))
    assert names(data, "train") == [*TRAIN, "2008_x"]
    assert {sample.mask.parent.name for sample in data.samples("train")} == {"SegmentationClassAug"}
    assert {sample.mask.parent.name for sample in data.samples("val")} == {"SegmentationClass"}


def test_trainaug_from_png_without_list(tmp_path):
    make_voc(tmp_path, TRAIN, VAL, augmented=[*TRAIN, "2008_x"])
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt").unlink()
    assert names(augmented(tmp_path), "train") == [*sorted(TRAIN), "2008_x"]


def test_files_of_macos_are_no_labels(tmp_path):
    make_voc(tmp_path, TRAIN, VAL, augmented=[*TRAIN, "2008_x"])
    devkit = tmp_path / "VOCdevkit/VOC2012"
    (devkit / "ImageSets/Segmentation/trainaug.txt").unlink()
    (devkit / "SegmentationClassAug/._2007_a.png").write_bytes(b"\0\5\x16\7")
    assert names(augmented(tmp_path), "train") == [*sorted(TRAIN), "2008_x"]


@pytest.mark.parametrize("suffix", [".JPG", ".png"])
def test_photographs_of_other_suffixes(tmp_path, suffix):
    make_voc(tmp_path, TRAIN, VAL)
    for path in tmp_path.rglob("*.jpg"):
        path.rename(path.with_suffix(suffix))
    assert {sample.image.suffix for sample in VOCDataModule(tmp_path).samples("train")} == {suffix}


def test_lists_of_path_pairs(tmp_path):
    make_voc(tmp_path, TRAIN, VAL, augmented=[*TRAIN, "2008_x"])
    lines = ["/JPEGImages/2008_x.jpg /SegmentationClassAug/2008_x.png", ""]
    save_list(tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt", lines)
    assert names(augmented(tmp_path), "train") == ["2008_x"]


def test_trainaug_list_with_val_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"1 of its images are also validation images, such as 2007_c"):
        augmented(make_voc(tmp_path, TRAIN, VAL, augmented=[*TRAIN, *VAL])).samples("train")


def test_trainaug_from_sbd_prefers_voc(tmp_path):
    make_voc(tmp_path, TRAIN, VAL)
    make_sbd(tmp_path, train=["2008_x", "2007_c", "2007_a"], val=["2008_yy"])
    samples = augmented(tmp_path).samples("train")
    assert [sample.name for sample in samples] == ["2007_a", "2007_b", "2008_x", "2008_yy"]
    assert [sample.mask.suffix for sample in samples] == [".png", ".png", ".mat", ".mat"]
    assert [sample.image.parent.name for sample in samples] == ["JPEGImages", "JPEGImages", "img", "img"]


@pytest.mark.parametrize("below", ["", "dataset"])
def test_sbd_mat_labels(tmp_path, below):
    make_voc(tmp_path / "voc", TRAIN, VAL)
    root = make_sbd(tmp_path / "sbd", train=["2008_x"], val=[]) / "benchmark_RELEASE" / below
    dataset = augmented(tmp_path / "voc", sbd_root=root).dataset("train")
    dataset.transform = None
    assert np.array_equal(dataset[2]["mask"], blocks((33, 45), range(21), seed=len("2008_x")))


def test_trainaug_without_labels_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"SegmentationClassAug.*benchmark_RELEASE/dataset/cls.*data\.sbd_root"):
        augmented(make_voc(tmp_path, TRAIN, VAL)).setup("fit")


def test_download_only_if_missing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("refinenet_pl.data.voc.VOCSegmentation", fail)
    VOCDataModule(make_voc(tmp_path / "voc", TRAIN, VAL), download=True).prepare_data()
    VOCDataModule(tmp_path / "nothing").prepare_data()
    with pytest.raises(UserError, match=r"could not be downloaded \(no network\)"):
        VOCDataModule(tmp_path / "nothing", download=True).prepare_data()


def test_voc_table_is_in_classes():
    assert classes.VOC is VOC is VOCDataModule.classes
    assert len(VOC) == 21
    assert (VOC.names[0], VOC.names[20]) == ("background", "tvmonitor")


def test_list_paths_may_be_strings(tmp_path):
    path = tmp_path / "list.txt"
    save_list(path, ["a", "b"])
    assert listed_names(str(path)) == listed_names(path) == ["a", "b"]
    assert listed_samples(str(path), "images", "masks") == listed_samples(path, "images", "masks")


def test_colors_match_devkit(real_data):
    path = next((real_data / "voc/VOCdevkit/VOC2012/SegmentationClass").glob("*.png"))
    palette = np.array(Image.open(path).getpalette()).reshape(-1, 3)
    assert np.array_equal(palette[:21], VOC.colors)


@pytest.mark.parametrize(("train_split", "count"), [("train", 437), ("trainaug", 537)])
def test_real_images_are_read(real_data, train_split, count):
    data = VOCDataModule(real_data / "voc", train_split)
    assert len(data.samples("val")) == 120
    dataset = data.dataset("train")
    dataset.transform = None
    assert len(dataset) == count
    official = (real_data / "splits" / f"voc_{train_split}.txt").read_text().split()
    assert {sample.name for sample in dataset.samples} <= set(official)
    for sample in map(dataset.__getitem__, range(count)):
        assert sample["image"].shape[1:] == sample["mask"].shape


def test_official_lists_make_trainaug(real_data, tmp_path, monkeypatch):
    # SBD's own lists are not available. Any lists that cover the official one must reproduce it.
    train, val, union = (
        (real_data / "splits" / f"voc_{name}.txt").read_text().split() for name in ("train", "val", "trainaug")
    )
    assert (len(train), len(val), len(union)) == (1464, 1449, 10582)
    data = augmented(tmp_path, sbd_root=tmp_path)
    for split, listed in {"train": train, "val": val}.items():
        save_list(tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation" / f"{split}.txt", listed)
    (tmp_path / "VOCdevkit/VOC2012/JPEGImages").mkdir()
    (tmp_path / "cls").mkdir()
    save_list(tmp_path / "train.txt", sorted({*union, *val} - set(train[::2])))
    save_list(tmp_path / "val.txt", val[:700])
    monkeypatch.setattr(Path, "is_file", lambda path: True)  # so that 21,164 files need not exist
    samples = data.samples("train")
    assert [sample.name for sample in samples] == sorted(union)
    assert sum(sample.mask.suffix == ".png" for sample in samples) == 1464
