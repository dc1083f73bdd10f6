"""Own data from yaml: files, label values, splits, transforms, and the checks before training."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers.commands import TINY_NETWORK, TINY_TRAINER, only_run, refinenet
from helpers.fake_data import blocks, make_camvid, save_gray, save_image
from PIL import Image
from torchvision.transforms import v2

from refinenet_pl.data import CamVidDataModule, FolderDataModule
from refinenet_pl.data.base import SegmentationDataModule
from refinenet_pl.data.globs import find_files
from refinenet_pl.data.splits import Split
from refinenet_pl.errors import UserError

CLASSES: dict[str, Any] = {"label_ids": {0: "background", 255: "cell"}}
HALVES = Split(fractions=[0.5, 0.5])


def make_pairs(root: Path, count: int = 6, image: str = "images/{}.jpg", mask: str = "masks/{}.png") -> Path:
    """Write photographs, and masks of 0 and 255."""
    for index in range(count):
        labels = blocks((48, 64), (0, 255), seed=index)
        save_image(root / image.format(f"p{index}"), labels)
        save_gray(root / mask.format(f"p{index}"), labels)
    return root


def files(data: SegmentationDataModule, split: str) -> list[tuple[str, str, str]]:
    return [
        (sample.name, sample.image.name, sample.mask.name if sample.mask else "")
        for sample in data.dataset(split).samples
    ]


@pytest.mark.parametrize(
    ("image", "mask", "options", "name"),
    [
        ("images/{}.jpg", "masks/{}.png", {}, "p0"),
        ("photos/{}.jpg", "labels/{}.png", {"images": "photos", "masks": "labels"}, "p0"),
        ("{}_rgb.jpg", "{}_mask.png", {"images": "*_rgb.jpg", "masks": "*_mask.png"}, "p0"),
        ("a/b/{}.jpg", "m/b/{}.png", {"images": "a", "masks": "m"}, "b/p0"),
        ("x/{}/image.png", "x/{}/labels.png", {"images": "x/*/image.png", "masks": "x/*/labels.png"}, "p0"),
        ("{}.jpg", "{}_mask.png", {"images": "*[0-9].jpg", "masks": "*_mask.png"}, "p0"),
        ("x/1/{}.jpg", "x/1/{}_gt.tif", {"images": "**/*.jpg", "masks": "**/*_gt.*"}, "x/1/p0"),
        ("i/{}.JPG", "m/{}.png", {"images": "i/*", "masks": "m/p?.png"}, None),
    ],
)
def test_images_and_masks_are_paired(image, mask, options, name, tmp_path):
    make_pairs(tmp_path, 6, image, mask)
    data = FolderDataModule(tmp_path, split=HALVES, **CLASSES, **options)
    if name is None:  # the wildcards of both patterns must stand for the same text
        with pytest.raises(UserError, match="12 of 12 samples lack either"):
            data.dataset("train")
        return
    found = sorted(files(data, "train") + files(data, "val"))
    assert len(found) == 6
    assert found[0] == (name, Path(image.format("p0")).name, Path(mask.format("p0")).name)
    assert {*data.dataset("val")[0]["mask"].unique().tolist()} == {0, 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images": "nowhere"}, "data.images: .*nowhere: no such folder"),
        ({"images": "images/*.bmp"}, r"data.images: .*images/\*\.bmp: no images there"),
        ({"images": "../x"}, "found '../x'; expected a folder or a pattern below data.root"),
        ({"images": "masks"}, "expected different files"),
        ({"masks": "masks/p0.png"}, "no such folder"),
        ({"masks": "masks/{split}"}, r"expected \{split\} in both or in neither"),
        ({"split": None}, r"nothing says which samples are the train split.*fractions: \[0.8, 0.2\]"),
        ({"images": "images/p[0-2].jpg"}, "samples lack either"),
    ],
)
def test_missing_files_are_told(options, words, tmp_path):
    make_pairs(tmp_path)
    with pytest.raises(UserError, match=words):
        FolderDataModule(tmp_path, **{"split": HALVES} | CLASSES | options).dataset("train")


def test_two_files_of_one_name_are_refused(tmp_path):
    make_pairs(tmp_path, 1)
    save_image(tmp_path / "images" / "p0.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(UserError, match=r"p0\.jpg and .*p0\.png are both named 'p0'"):
        find_files(tmp_path, "images", "data.images")


def test_splits_in_folders(tmp_path):
    make_pairs(tmp_path, 3, "images/train/{}.jpg", "masks/train/{}.png")
    make_pairs(tmp_path, 2, "images/valid/{}.jpg", "masks/valid/{}.png")
    folders: dict[str, Any] = {"images": "images/{split}", "masks": "masks/{split}", "split_folders": {"val": "valid"}}
    data = FolderDataModule(tmp_path, **folders, **CLASSES)
    assert [len(data.dataset(split)) for split in ("train", "val")] == [3, 2]
    with pytest.raises(UserError, match="images/test: no such folder"):
        data.dataset("test")


def test_splits_in_lists(tmp_path, monkeypatch):
    make_pairs(tmp_path / "data")
    (tmp_path / "data" / "train.txt").write_text("p0\nimages/p3.jpg\np2.jpg\n")
    (tmp_path / "val.txt").write_text("/images/p1.jpg /masks/p1.png\n")
    monkeypatch.chdir(tmp_path)
    data = FolderDataModule("data", train_list="train.txt", val_list="val.txt", **CLASSES)
    assert [name for name, *_ in files(data, "train")] == ["p0", "p3", "p2"]
    assert files(data, "val") == [("p1", "p1.jpg", "p1.png")]
    with pytest.raises(UserError, match="nothing says which samples are the test split"):
        data.dataset("test")


def test_own_lists_of_a_dataset(tmp_path):
    make_camvid(tmp_path)
    (tmp_path / "few.txt").write_text("train_1\nval_0\n")
    data = CamVidDataModule(tmp_path, train_list="few.txt")
    assert [sample.name for sample in data.dataset("train").samples] == ["train_1", "val_0"]
    assert len(data.dataset("val")) == 3
    with pytest.raises(UserError, match=r"1 of 3 validation images are also training images: .*val_0\.png"):
        data.setup("fit")
    (tmp_path / "few.txt").write_text("train_9\n")
    with pytest.raises(UserError, match=r"few\.txt: 1 of its names are not in .*: train_9. Expected .* test_0"):
        CamVidDataModule(tmp_path, train_list="few.txt").dataset("train")


def test_colored_masks(tmp_path):
    colors = np.array([(255, 0, 0), (0, 128, 255), (255, 255, 255)], np.uint8)
    for index in range(4):
        labels = blocks((24, 32), range(3), seed=index)
        save_image(tmp_path / "images" / f"{index}.png", labels)
        save_image(tmp_path / "masks" / f"{index}.png", labels)  # makes the folder
        Image.fromarray(colors[labels]).save(tmp_path / "masks" / f"{index}.png")
    with pytest.raises(UserError, match=r"mode RGB.*data\.label_ids.*'#0080ff', '#ff0000', '#ffffff'"):
        FolderDataModule(tmp_path, class_names=["a", "b"], split=HALVES).setup("fit")
    label_ids: dict[Any, Any] = {"#ff0000": "road", "0,128,255": "sky", "#ffffff": "void"}
    dataset = FolderDataModule(tmp_path, label_ids=label_ids, split=HALVES).dataset("val")
    expected = np.array([0, 1, 255], np.uint8)[blocks((24, 32), range(3), seed=int(dataset.samples[0].name))]
    assert np.array_equal(dataset.mask(0), expected)
    del label_ids["#ffffff"]
    unstratified = Split(fractions=[0.5, 0.5], stratify=False)
    dataset = FolderDataModule(tmp_path, label_ids=label_ids, split=unstratified).dataset("val")
    with pytest.raises(UserError, match=r"label colors that are not a class: #ffffff. Expected only #0080ff, #ff0000"):
        dataset.mask(0)


def jpeg_masks(root: Path) -> None:
    for path in (root / "masks").iterdir():
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()


def smaller_mask(root: Path) -> None:
    save_gray(root / "masks" / "p0.png", np.zeros((24, 32), np.uint8))


def strange_value(root: Path) -> None:
    save_gray(root / "masks" / "p0.png", np.full((48, 64), 7, np.uint8))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (jpeg_masks, r"masks/p\d\.jpg: labels are saved as JPEG"),
        (smaller_mask, r"p0\.png: the label image is 24 x 32 pixels, but its image .*p0\.jpg is 48 x 64"),
        (strange_value, r"p0\.png: .*not a class: 7. Expected only 0, 255.*data\.label_ids, such as \{'7': void\}"),
    ],
)
def test_checks_before_training(spoil, words, tmp_path, monkeypatch, capsys):
    make_pairs(tmp_path / "data")
    spoil(tmp_path / "data")
    assert train(tmp_path, monkeypatch, CLASSES) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not (tmp_path / "runs").exists()


def train(folder: Path, monkeypatch: pytest.MonkeyPatch, init_args: dict[str, Any], *options: str) -> int:
    """Train on folder/data with a yaml of own data, and return the exit status."""
    arguments = {"root": "data", "split": {"fractions": [0.5, 0.5]}, "crop_size": 32, "num_workers": 0}
    config = {"data": {"class_path": "FolderDataModule", "init_args": arguments | {"batch_size": 2} | init_args}}
    (folder / "own.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(folder)
    short = ["--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1"]
    return refinenet(monkeypatch, "fit", "--config=own.yaml", *TINY_NETWORK, *TINY_TRAINER, *short, *options)


def test_own_data_by_yaml_alone(tmp_path, monkeypatch):
    make_pairs(tmp_path / "data", 8)
    transforms = [
        {"class_path": "torchvision.transforms.v2.RandomRotation", "init_args": {"degrees": 45}},
        {"class_path": "GaussianBlur", "init_args": {"kernel_size": 3}},
    ]
    assert train(tmp_path, monkeypatch, CLASSES | {"transforms": transforms}) == 0
    run = only_run(tmp_path / "runs")
    results = json.loads((run / "results.json").read_text())
    assert [*results["per_class_iou"]] == ["background", "cell"]
    assert np.sum(results["confusion_matrix"]) == results["images"] * 48 * 64 == 4 * 48 * 64  # no void
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["preprocessing"]["class_names"] == ["background", "cell"]
    assert config["model"]["network"]["init_args"]["classes"] == 2
    # what the checkpoint says of the data is allowed without --trust
    assert refinenet(monkeypatch, "validate", f"--ckpt_path={run}/checkpoints/best.ckpt") == 0
    assert refinenet(monkeypatch, "fit", f"--config={run}/config.yaml", "--experiment=again") == 0


def test_masks_of_0_and_255_are_refused(tmp_path, monkeypatch, capsys):
    make_pairs(tmp_path / "data")
    assert train(tmp_path, monkeypatch, {"class_names": ["background", "cell"]}) == 2
    assert "label_ids: {0: background, 255: cell}" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_options_on_the_command_line(tmp_path, monkeypatch):
    make_pairs(tmp_path / "data", 6)
    options = ["--data.split.fold=1", '--data.label_ids={"0": "background", "255": "cell"}']
    assert train(tmp_path, monkeypatch, {"split": {"folds": 3, "fold": 0}}, *options) == 0
    assert json.loads((only_run(tmp_path / "runs") / "results.json").read_text())["images"] == 2


def test_filled_pixels_are_ignored(tmp_path):
    make_pairs(tmp_path, 2)
    whole: dict[str, Any] = {"crop_size": (48, 64), "scale_range": (1.0, 1.0), "flip": False, "split": HALVES}
    plain = FolderDataModule(tmp_path, **whole, **CLASSES).dataset("train")[0]
    moved = v2.RandomAffine(0, translate=(0.25, 0.0))
    turned = FolderDataModule(tmp_path, transforms=[v2.RandomRotation((90, 90))], **whole, **CLASSES)
    expected = torch.full((48, 64), 255, dtype=torch.uint8)
    expected[:, 8:56] = torch.rot90(plain["mask"], 1)[8:56]
    assert torch.equal(turned.dataset("train")[0]["mask"], expected)
    shifted = FolderDataModule(tmp_path, transforms=[moved], **whole, **CLASSES).dataset("train")[0]["mask"]
    assert ((shifted == 255).sum(1) == (shifted[0] == 255).sum()).all()
    assert {*shifted.unique().tolist()} <= {0, 1, 255}


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (v2.ToDtype(torch.float32, scale=True), "gave the image torch.float32"),
        (v2.Grayscale(1), r"\[1, 32, 32\]"),
        (v2.RandomResize(16, 64), "two training samples have"),
    ],
)
def test_unusable_transforms_are_told(transform, words, tmp_path):
    make_pairs(tmp_path, 8)
    data = FolderDataModule(tmp_path, crop_size=32, transforms=[transform], split=HALVES, **CLASSES)
    torch.manual_seed(0)
    with pytest.raises(UserError, match=f"data.transforms: .*{words}"):
        data.setup("fit")
