"""What is checked before a training starts: names, overlap of splits, classes, and samples that cannot be read."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import fit_options, only_run, refinenet
from helpers.fake_data import blocks, make_camvid, make_cityscapes, make_person_part, save_gray, save_image, save_list
from PIL import Image

from refinenet_pl.data import CamVidDataModule, PersonPartDataModule, SegmentationDataModule
from refinenet_pl.data.checks import check_names
from refinenet_pl.data.classes import Classes, voc_colors
from refinenet_pl.data.dataset import Sample, SegmentationDataset
from refinenet_pl.data.pairs import images_in, pair
from refinenet_pl.errors import UserError


class Own(SegmentationDataModule):
    """A user's dataset in CamVid's folders."""

    classes = Classes(("background", "crack"), voc_colors(2))
    source = "own"

    def samples(self, split: str) -> list[Sample]:
        images, masks = self.folder(split), self.folder(f"{split}annot")
        return pair(images_in(images), images_in(masks), where=str(images))


def own(root: Path, values: list[int], dtype: type = np.uint8, **options: Any) -> Own:
    """Write images whose labels hold some values, and return their data module."""
    make_camvid(root)
    for index, path in enumerate(sorted(root.glob("*annot/*.png"))):
        labels = np.array(values, dtype)[blocks((48, 64), range(len(values)), index)]
        Image.fromarray(labels).save(path)
    return Own(root, num_workers=0, batch_size=2, crop_size=(32, 40), **options)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ({"val": ["v", "v"]}, r"JPEGImages/v\.jpg: the val split lists this image twice"),
        ({"train": ["t", "t"]}, "the train split lists this image twice"),
        ({"train": ["t", "v"]}, r"1 of 1 validation images are also training images: .*v\.jpg"),
        ({"train": ["t", "../t"]}, r"'\.\./t\.png': cannot be the name of a file"),
    ],
)
def test_lists_are_checked_before_training(tmp_path, monkeypatch, capsys, lines, words):
    make_person_part(tmp_path / "data", train=["t"], val=["v"])
    for name in ("JPEGImages", "masks"):
        for file in (tmp_path / "data" / name).glob("t.*"):
            shutil.copy(file, tmp_path / "data" / file.name)
    for split, names in lines.items():
        save_list(tmp_path / "data" / f"{split}.txt", names)
    options = fit_options(tmp_path / "data", tmp_path / "runs", "PersonPartDataModule")
    assert refinenet(monkeypatch, "fit", *options, "--trainer.max_epochs=1", "--data.batch_size=1") == 2
    error = capsys.readouterr().err
    with pytest.raises(UserError, match=words):
        raise UserError(error)
    assert not list((tmp_path / "runs").rglob("*.ckpt"))


@pytest.mark.parametrize("name", ["/etc/passwd", "a/../../b", "../b", "a\nb", "C:/b", "x" * 240])
def test_names_stay_in_their_folder(tmp_path, name):
    with pytest.raises(UserError, match=r"cannot be the name|too long"):
        check_names([Sample(tmp_path / "a.png", tmp_path / "a.png", name)], "val")


def test_two_images_of_one_name(tmp_path):
    samples = [Sample(tmp_path / folder / "1.png", None, "1") for folder in ("a", "b")]
    with pytest.raises(UserError, match=r"a/1\.png and .*b/1\.png: both images of the val split are named '1'"):
        check_names(samples, "val")


def test_copy_in_both_splits_is_found(tmp_path):
    data = own(tmp_path, [0, 1])
    for folder in ("", "annot"):
        shutil.copy(tmp_path / f"train{folder}" / "train_0.png", tmp_path / f"val{folder}" / "train_0.png")
    with pytest.raises(UserError, match=r"1 of 4 validation images are also training images: .*val/train_0\.png"):
        data.setup("fit")


def test_equal_names_of_other_images_are_fine(tmp_path):
    data = own(tmp_path, [0, 1])
    for folder in ("", "annot"):
        (tmp_path / f"val{folder}" / "val_1.png").rename(tmp_path / f"val{folder}" / "train_0.png")
    data.setup("fit")


def test_absent_class_is_told(tmp_path, capsys):
    own(tmp_path, [0]).setup("fit")
    warning = capsys.readouterr().err
    assert "none of the 4 training label images looked at contains crack" in warning
    assert "0 % of their pixels are ignored (class index 255)" in warning


def test_masks_of_0_and_255_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"only the values 0 and 255.*label_ids: \{0: background, 255: crack\}"):
        own(tmp_path, [0, 255]).setup("fit")


def test_many_ignored_pixels_are_told(tmp_path, capsys):
    own(tmp_path, [0, 1, 255, 255, 255, 255, 255]).setup("fit")
    warning = capsys.readouterr().err
    stored = [np.asarray(Image.open(path)) for path in (tmp_path / "trainannot").iterdir()]
    share = np.mean([(values == 255).mean() for values in stored])
    assert f"warning: {100 * share:.0f} % of the pixels of the 4 training label images are ignored" in warning
    assert "those with the values 255. If one of them is a class" in warning


def test_present_classes_need_no_word(tmp_path, capsys):
    own(tmp_path, [0, 1, 255]).setup("fit")
    assert capsys.readouterr().err == ""


def test_only_ignored_pixels_are_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"all pixels of the 4 training label images looked at are ignored .*255.*classes are 0\.\.1"
    ):
        own(tmp_path, [255]).setup("fit")


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 classes"), (1, "1 class; expected 2..255.*background"), (256, "256 classes")]
)
def test_class_counts_outside_8_bits(count, words):
    with pytest.raises(UserError, match=words):
        SegmentationDataset([], count)


def test_255_classes_fit(tmp_path):
    data = own(tmp_path, [0, 254, 255])
    mask = SegmentationDataset(data.samples("val"), 255)[0]["mask"]
    assert set(mask.unique().tolist()) == {0, 254, 255}


def test_label_ids_of_16_bits(tmp_path):
    data = own(tmp_path, [0, 300, 65535], np.uint16)
    dataset = SegmentationDataset(data.samples("val"), 2, {0: 0, 300: 1, 65535: 255})
    stored = np.asarray(Image.open(str(dataset.samples[0].mask)))
    assert np.array_equal(dataset[0]["mask"], np.select([stored == 0, stored == 300], [0, 1], 255))


@pytest.mark.parametrize(("ids", "words"), [({-1: 0}, "label values -1"), ({70000: 0}, "70000"), ({0: 2}, "indices 2")])
def test_impossible_label_ids(ids, words):
    with pytest.raises(UserError, match=words):
        SegmentationDataset([], 2, ids)


def test_camvid_with_255_as_void(tmp_path):
    make_camvid(tmp_path)
    path = tmp_path / "valannot" / "val_0.png"
    labels = np.asarray(Image.open(path))
    save_gray(path, np.where(labels == 11, 255, labels).astype(np.uint8))
    assert np.array_equal(CamVidDataModule(tmp_path).dataset("val").mask(0), np.where(labels == 11, 255, labels))


def test_turned_photograph_speaks_of_exif(tmp_path):
    make_camvid(tmp_path)
    tags = Image.Exif()
    tags[0x0112] = 6
    path = tmp_path / "train" / "train_0.png"
    with Image.open(path) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(path, exif=tags)
    with pytest.raises(UserError, match=r"48 x 64 pixels, .*64 x 48 .*EXIF orientation is 6"):
        CamVidDataModule(tmp_path).dataset("train")[0]


def test_cityscapes_names_the_missing_labels(tmp_path):
    from refinenet_pl.data import CityscapesDataModule

    make_cityscapes(tmp_path)
    for path in tmp_path.rglob("*_labelIds.png"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    with pytest.raises(UserError, match=r"_gtFine_labelIds\.png: 2 of 2 samples lack"):
        CityscapesDataModule(tmp_path).setup("validate")


def break_samples(root: Path) -> None:
    """Break one training image, one validation image and one validation mask."""
    (root / "train" / "train_1.png").write_bytes(b"")
    (root / "val" / "val_0.png").write_bytes((root / "val" / "val_0.png").read_bytes()[:200])
    save_gray(root / "valannot" / "val_2.png", np.full((48, 64), 77, np.uint8))


def test_broken_samples_are_skipped_and_listed(tmp_path, monkeypatch, capsys):
    break_samples(make_camvid(tmp_path / "data", train=5, val=4))
    options = [*fit_options(tmp_path / "data", tmp_path / "runs"), "--trainer.max_epochs=1", "--data.skip_broken=3"]
    assert refinenet(monkeypatch, "fit", *options) == 0
    results = json.loads((only_run(tmp_path / "runs") / "results.json").read_text())
    assert [(sample["split"], sample["name"]) for sample in results["skipped"]] == [
        ("train", "train_1"),
        ("val", "val_0"),
        ("val", "val_2"),
    ]
    assert "val_2.png: contains label values that are not a class: 77" in results["skipped"][2]["error"]
    assert results["images"] == 2
    assert np.sum(results["confusion_matrix"]) == sum(
        (blocks((48, 64), range(12), seed) != 11).sum() for seed in (1, 3)
    )
    assert capsys.readouterr().err.count("warning: skipped") == 3


def test_more_broken_samples_stop(tmp_path):
    break_samples(make_camvid(tmp_path, train=5, val=4))
    data = CamVidDataModule(tmp_path, num_workers=0, skip_broken=2)
    with pytest.raises(UserError, match=r"3 samples cannot be read, but data\.skip_broken allows 2(.|\n)*train_1\.png"):
        data.setup("fit")


def test_skipping_leaves_an_order(tmp_path):
    break_samples(make_camvid(tmp_path, train=5, val=4))
    data = CamVidDataModule(tmp_path, num_workers=2, batch_size=2, crop_size=(32, 40), skip_broken=3)
    data.setup("fit")
    data.setup("validate")
    assert len(data.skipped) == 3
    assert [sample.name for sample in data.dataset("train").samples] == ["train_0", "train_2", "train_3", "train_4"]
    torch.manual_seed(0)
    assert len([name for batch in data.train_dataloader() for name in batch["name"]]) == 4


def test_no_sample_is_left(tmp_path):
    make_camvid(tmp_path, train=1, val=1)
    (tmp_path / "train" / "train_0.png").write_bytes(b"")
    data = CamVidDataModule(tmp_path, num_workers=0, skip_broken=1)
    data.setup("fit")
    with pytest.raises(UserError, match="the training split has only 0 images"):
        data.train_dataloader()


def test_broken_sample_stops_by_default(tmp_path):
    break_samples(make_camvid(tmp_path, train=5, val=4))
    with pytest.raises(UserError, match=r"train_1\.png: cannot be read"):
        list(CamVidDataModule(tmp_path, num_workers=2, batch_size=1).train_dataloader())


def test_person_part_of_any_suffix(tmp_path):
    make_person_part(tmp_path, train=["t"], val=["v"])
    image = tmp_path / "JPEGImages" / "t.jpg"
    image.rename(image.with_suffix(".JPG"))
    assert PersonPartDataModule(tmp_path).samples("train")[0].image == image.with_suffix(".JPG")
    save_image(tmp_path / "JPEGImages" / "u.png", np.zeros((8, 8), np.uint8))
    save_gray(tmp_path / "masks" / "u.png", np.zeros((8, 8), np.uint8))
    save_list(tmp_path / "train.txt", ["u"])
    assert PersonPartDataModule(tmp_path).samples("train")[0].image.name == "u.png"
