"""Bad data: folders, lists, images and label images that miss or garble something."""

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

import numpy as np
import pytest
from helpers.checkpoints import ARGUMENTS, run_settings, small_network, write_checkpoint
from helpers.commands import fit_options
from helpers.fake_data import make_camvid, make_cityscapes, make_nyudv2, make_person_part, make_sbd, make_voc, save_gray
from helpers.faults import BadInput, check
from PIL import Image

Change = Callable[[Path], object]

CAMVID, CITYSCAPES, VOC, NYUDV2, PERSON_PART = (
    f"class-weights --data={name}DataModule --data.root=data"
    for name in ("CamVid", "Cityscapes", "VOC", "NYUDv2", "PersonPart")
)
LABEL = "data/trainannot/train_1.png"
SIZE = (64, 48)  # width and height
GRAYS = [Image.new("L", SIZE, value) for value in (0, 1)]


def camvid(*changes: Change) -> Change:
    return lambda folder: apply(changes, make_camvid(folder / "data", train=2, val=1, test=0))


def cityscapes(*changes: Change) -> Change:
    return lambda folder: apply(changes, make_cityscapes(folder / "data"))


def voc(*changes: Change) -> Change:
    return lambda folder: apply(changes, make_voc(folder / "data", train=["a"], val=["b"]) / "VOCdevkit" / "VOC2012")


def apply(changes: Sequence[Change], root: Path) -> None:
    for change in changes:
        change(root)


def nyudv2(*values: int, **splits: list[str]) -> Change:
    return lambda folder: make_nyudv2(folder / "data", values, **splits)


def person_part(text: str | bytes) -> Change:
    """Write a list of training images, of which "a" exists."""
    content = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (make_person_part(folder / "data", ["a"], ["b"]) / "train.txt").write_bytes(content)


def sbd(change: Change) -> Change:
    def prepare(folder: Path) -> None:
        make_voc(folder / "data", train=["a"], val=["b"])
        change(make_sbd(folder / "data", train=["c"], val=["b"]) / "benchmark_RELEASE" / "dataset")

    return prepare


def remove(pattern: str) -> Change:
    """Delete the files that match a pattern."""

    def change(root: Path) -> None:
        for file in list(root.glob(pattern)):
            file.unlink()

    return change


def add_folder(path: str) -> Change:
    return lambda root: (root / path).mkdir()


def write(path: str, text: str) -> Change:
    return lambda root: (root / path).write_text(text)


def copy(source: str, target: str) -> Change:
    return lambda root: copyfile(root / source, root / target)


def training_files(folder: str, change: Change) -> Change:
    """Change every image, or every label image, of CamVid's training."""

    def change_all(root: Path) -> None:
        for path in sorted((root / folder).iterdir()):
            change(path)

    return camvid(change_all)


def labels(height: int, width: int, value: int) -> Change:
    """Write label images of one value."""
    return training_files("trainannot", lambda path: save_gray(path, np.full((height, width), value, np.uint8)))


def image(name: str, picture: Image.Image, **options: Any) -> Change:
    """Save a picture as a file of CamVid."""
    return camvid(lambda root: picture.save(root / name, **options))


def label(picture: Image.Image, **options: Any) -> Change:
    return image("trainannot/train_1.png", picture, **options)


def label_bytes(content: bytes) -> Change:
    return camvid(lambda root: (root / "trainannot" / "train_1.png").write_bytes(content))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def turn(path: Path) -> None:
    """Turn the stored pixels of an image, and say so in its EXIF data."""
    picture = Image.open(path).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header states a size, and that holds no pixels."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(b"")
    packed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def checkpoint(folder: Path) -> None:
    """A checkpoint of a training on Cityscapes. The data is looked for before its weights are loaded."""
    network = {"class_path": "refinenet_pl.networks.LightWeightRefineNet", "init_args": {**ARGUMENTS, "classes": 19}}
    data = {"class_path": "refinenet_pl.data.CityscapesDataModule", "init_args": {"root": "data"}}
    write_checkpoint(folder / "a.ckpt", small_network(), run_settings(network=network) | {"data": data})


FOLDERS = [
    BadInput("no folder", CAMVID, ("data/train: no such folder (data.root is data)", "SegNet")),
    BadInput("root is a file", CAMVID, ("data: is a file; expected a folder, or an archive",), files={"data": "x"}),
    BadInput(
        "folders without images",
        CAMVID,
        ("data/train and trainannot", "no images; expected at least one"),
        files={"data/train/readme.txt": "x", "data/trainannot/readme.txt": "x"},
    ),
    BadInput(
        "image without a label image",
        CAMVID,
        ("1 of 2 samples lack", "data/train/train_1.png", "Add the missing files"),
        prepare=camvid(remove("trainannot/train_1.png")),
    ),
    BadInput(
        "two images of one name",
        CAMVID,
        ("train_1.jpg and train_1.png have the same name",),
        prepare=image("train/train_1.jpg", GRAYS[0]),
    ),
    BadInput(
        "folder with an image's name",
        CAMVID,
        ("data/trainannot/folder.png", "Is a directory", "expected a file"),
        prepare=camvid(add_folder("train/folder.png"), add_folder("trainannot/folder.png")),
    ),
    BadInput(
        "broken link",
        CAMVID,
        (LABEL, "No such file", "expected a file"),
        prepare=camvid(
            remove("trainannot/train_1.png"), lambda root: (root / "trainannot/train_1.png").symlink_to("nowhere.png")
        ),
    ),
    BadInput(
        "validation image in the training",
        "fit {fit}",
        ("1 of 1 validation images are also training images", "val/train_0.png", "Remove them"),
        prepare=camvid(
            remove("val*/*.png"),
            copy("train/train_0.png", "val/train_0.png"),
            copy("trainannot/train_0.png", "valannot/train_0.png"),
        ),
    ),
    BadInput(
        "fewer images than a batch",
        "fit {fit} --data.batch_size=3",
        ("batch_size=3", "has only 2 images", "Set data.batch_size to 2"),
        prepare=camvid(),
    ),
    BadInput(
        "no validation images",
        "fit {fit}",
        ("data/val: no such folder",),
        prepare=camvid(lambda root: rmtree(root / "val")),
    ),
    BadInput(
        "Cityscapes without label ids",
        CITYSCAPES,
        ("2 of 2 samples lack", "aachen_000000_000019_leftImg8bit.png"),
        prepare=cityscapes(remove("**/*labelIds.png")),
    ),
    BadInput(
        "Cityscapes image in two cities",
        CITYSCAPES,
        ("aachen/aachen_000000_000019_leftImg8bit.png", "bremen/aachen_000000_000019_leftImg8bit.png", "same name"),
        prepare=cityscapes(
            copy(
                "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
                "leftImg8bit/train/bremen/aachen_000000_000019_leftImg8bit.png",
            )
        ),
    ),
    BadInput(
        "test labels that are not public",
        "test --ckpt_path=a.ckpt --trainer.accelerator=cpu",
        ("Cityscapes' test labels are not public", "predict"),
        prepare=checkpoint,
    ),
    BadInput(
        "VOC without its devkit", VOC, ("VOCdevkit", "no such folder", "data.download=true"), files={"data/a": ""}
    ),
    BadInput(
        "VOC without a label image",
        VOC,
        ("1 of 2 files of the split are missing", "SegmentationClass/a.png"),
        prepare=voc(remove("SegmentationClass/a.png")),
    ),
    BadInput(
        "VOC without SBD",
        f"{VOC} --data.train_split=trainaug",
        ("SegmentationClassAug", "benchmark_RELEASE/dataset/cls", "data.sbd_root"),
        prepare=voc(),
    ),
    BadInput(
        "validation images in trainaug",
        f"{VOC} --data.train_split=trainaug",
        ("trainaug.txt", "also validation images, such as b", "Remove them"),
        prepare=voc(add_folder("SegmentationClassAug"), write("ImageSets/Segmentation/trainaug.txt", "a\nb\n")),
    ),
    BadInput(
        "images that do not exist",
        "predict --ckpt_path=a.ckpt --images=photos",
        ("photos: no such file or folder",),
        prepare=checkpoint,
    ),
    BadInput(
        "folder without images",
        "predict --ckpt_path=a.ckpt --images=photos",
        ("photos: no images", ".png"),
        prepare=checkpoint,
        files={"photos/a.heic": "x"},
    ),
]

LISTS = [
    BadInput(
        "no list",
        PERSON_PART,
        ("data/train.txt: no such file", "one name per line"),
        prepare=lambda folder: apply([person_part("a"), remove("data/train.txt")], folder),
    ),
    BadInput(
        "empty list", PERSON_PART, ("data/train.txt: holds no names", "one name per line"), prepare=person_part("\n")
    ),
    BadInput(
        "missing name", PERSON_PART, ("2 of 4 files", "JPEGImages/z.jpg", "masks/z.png"), prepare=person_part("a\nz\n")
    ),
    BadInput("name with a suffix", PERSON_PART, ("2 of 2 files", "a.jpg.jpg"), prepare=person_part("a.jpg\n")),
    BadInput(
        "line twice",
        PERSON_PART,
        ("JPEGImages/a.jpg", "train split lists this image twice"),
        prepare=person_part("a\na\n"),
    ),
    BadInput(
        "three columns",
        PERSON_PART,
        ("train.txt: cannot parse the line 'a b c'", "image name"),
        prepare=person_part("a b c\n"),
    ),
    BadInput(
        "absolute name",
        PERSON_PART,
        ("'/", "relative path"),
        prepare=lambda folder: person_part(f"{folder / 'data/JPEGImages/a'}\n")(folder),
    ),
    BadInput(
        "name above the folder",
        PERSON_PART,
        ("'../masks/../JPEGImages/a.png'", "without '..'"),
        prepare=person_part("../masks/../JPEGImages/a\n"),
    ),
    BadInput(
        "backslashes",
        PERSON_PART,
        ("2 of 2 files", "JPEGImages\\a.jpg"),
        prepare=person_part("JPEGImages\\a.jpg masks\\a.png\r\n"),
    ),
    BadInput(
        "binary list", PERSON_PART, ("data/train.txt", "UTF-8", "Save it"), prepare=person_part(b"\xff\xd8\xff\xe0")
    ),
    BadInput(
        "UTF-16 without a mark",
        PERSON_PART,
        ("train.txt", "control characters", "Save it as UTF-8"),
        prepare=person_part("a\n".encode("utf-16-le")),
    ),
    BadInput(
        "list is a folder",
        PERSON_PART,
        ("data/train.txt",),
        prepare=lambda folder: apply(
            [person_part("a"), remove("data/train.txt"), add_folder("data/train.txt")], folder
        ),
    ),
    BadInput("endless name", PERSON_PART, ("aaaa", "name too long"), prepare=person_part("a" * 300)),
    BadInput(
        "list without line ends",
        PERSON_PART,
        ("cannot parse the line 'a a a", "a ...'; expected"),
        prepare=person_part("a " * 999),
    ),
    BadInput(
        "validation takes all of trainaug",
        f"{VOC} --data.train_split=trainaug",
        ("the train split has no images",),
        prepare=voc(add_folder("SegmentationClassAug"), write("ImageSets/Segmentation/val.txt", "a\nb\n")),
    ),
    BadInput(
        "SBD label that is no .mat",
        f"{VOC} --data.train_split=trainaug",
        ("cls/c.mat", "label file of SBD"),
        prepare=sbd(lambda dataset: (dataset / "cls/c.mat").write_text("x" * 200)),
    ),
    BadInput(
        "empty SBD label",
        f"{VOC} --data.train_split=trainaug",
        ("cls/c.mat", "label file of SBD"),
        prepare=sbd(lambda dataset: (dataset / "cls/c.mat").write_text("")),
    ),
]

LABELS = [
    BadInput(
        "unknown values",
        CAMVID,
        (LABEL, "not a class: 77", "Expected only 0, 1, 2"),
        prepare=label(Image.new("L", SIZE, 77)),
    ),
    BadInput(
        "values of 16 bits",
        CAMVID,
        (LABEL, "not a class: 4000"),
        prepare=label(Image.fromarray(np.full((48, 64), 4000, np.uint16))),
    ),
    BadInput("colors", CAMVID, (LABEL, "mode RGB", "class numbers"), prepare=label(Image.new("RGB", SIZE))),
    BadInput("JPEG named PNG", CAMVID, (LABEL, "saved as JPEG", "as PNG"), prepare=label(GRAYS[0], format="JPEG")),
    BadInput("floating point", CAMVID, (LABEL, "mode F"), prepare=label(Image.new("F", SIZE), format="TIFF")),
    BadInput(
        "white is zero",
        CAMVID,
        (LABEL, "0 is white", "as PNG"),
        prepare=label(GRAYS[0], format="TIFF", tiffinfo={262: 0}),
    ),
    BadInput(
        "animation",
        CAMVID,
        (LABEL, "several images", "expected one"),
        prepare=label(GRAYS[0], save_all=True, append_images=GRAYS[1:]),
    ),
    BadInput("no bytes", CAMVID, (LABEL, "none of the formats", "get it again"), prepare=label_bytes(b"")),
    BadInput("text", CAMVID, (LABEL, "none of the formats BMP"), prepare=label_bytes(b"<html>404</html>")),
    BadInput(
        "cut short",
        CAMVID,
        (LABEL, "truncated", "damaged or incomplete"),
        prepare=camvid(lambda root: cut(root / "trainannot/train_1.png")),
    ),
    BadInput(
        "bomb", CAMVID, (LABEL, "more than 179 million pixels", "tiles"), prepare=label_bytes(png_of(60000, 60000))
    ),
    BadInput(
        "all ignored",
        "fit {fit}",
        ("all pixels of the 2 training label images", "ignored"),
        prepare=labels(48, 64, 11),
    ),
    BadInput(
        "all ignored for weights",
        f"{CAMVID} --method=inverse_log",
        ("all pixels of the training split are ignored",),
        prepare=labels(48, 64, 11),
    ),
    BadInput(
        "unknown encoding",
        NYUDV2,
        ("cannot detect the encoding", "data.labels", "from_one"),
        prepare=nyudv2(*range(1, 40)),
    ),
    BadInput(
        "two encodings",
        NYUDV2,
        ("000001.png contains 255", "masks/000003.png contains 40"),
        prepare=lambda folder: Image.new("L", (50, 40), 255).save(
            make_nyudv2(folder / "data", range(1, 41)) / "masks/000001.png"
        ),
    ),
    BadInput(
        "wrong encoding",
        f"{NYUDV2} --data.labels=from_zero",
        ("masks/000003.png", "not a class: 40"),
        prepare=nyudv2(*range(1, 41)),
    ),
    BadInput(
        "another size",
        "fit {fit}",
        ("trainannot/train_", "is 48 x 32 pixels", "48 x 64"),
        prepare=labels(48, 32, 0),
    ),
]

IMAGES = [
    BadInput(
        "image without bytes",
        "fit {fit}",
        ("data/train/train_", "none of the formats"),
        prepare=training_files("train", lambda path: path.write_bytes(b"")),
    ),
    BadInput(
        "floating point image",
        "fit {fit}",
        ("data/train/train_", "floating point", "8 or 16 bits"),
        prepare=training_files("train", lambda path: Image.new("F", SIZE).save(path, format="TIFF")),
    ),
    BadInput(
        "more broken images than allowed",
        "fit {fit} --data.skip_broken=1",
        ("2 samples cannot be read, but data.skip_broken allows 1", "train_0.png", "train_1.png"),
        prepare=training_files("train", cut),
    ),
    BadInput(
        "turned image",
        "fit {fit}",
        ("EXIF orientation is 6", "Save the image upright"),
        prepare=training_files("train", turn),
    ),
    BadInput(
        "broken validation image",
        "fit {fit}",
        ("data/val/val_0.png", "cannot be read as image"),
        prepare=camvid(write("val/val_0.png", "x")),
    ),
]


ROWS = [*FOLDERS, *LISTS, *LABELS, *IMAGES]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_bad_data(row, tmp_path, monkeypatch, capsys):
    fit = [*fit_options(Path("data"), Path("runs")), "--trainer.fast_dev_run=true"]
    check(row, {"{fit}": fit}, tmp_path, monkeypatch, capsys)
