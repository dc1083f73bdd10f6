"""Converts NYU Depth V2's raw file, nyu_depth_v2_labeled.mat, to images, label images of 40 classes, and text files."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from refinenet_pl.data.label_files import write_label_image, write_names
from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.images import MAX_PIXELS
from refinenet_pl.progress import track

RAW_FILE = "nyu_depth_v2_labeled.mat"
SCENES_FILE = "scenes.txt"
RAW_CLASSES = 894

# The 40 classes of Gupta, Arbelaez and Malik (CVPR 2013), from the variable mapClass of their classMapping40.mat: 37
# classes have one raw label each; of the others, some are "other structure" (38) or "other furniture" (39), and all
# that remain are "other prop" (40). github.com/ankurhanda/nyuv2-meta-data has a copy of the file.
SINGLE = (
    *(21, 11, 3, 157, 5, 83, 19, 28, 59, 88, 64, 7, 80, 36, 42, 89, 169, 119, 122, 143, 141, 4, 85, 17, 172, 15, 135),
    *(123, 26, 45, 331, 158, 124, 24, 144, 136, 55),
)
OTHER_STRUCTURE = (
    *(8, 25, 33, 38, 51, 53, 57, 58, 62, 65, 79, 94, 104, 112, 134, 153, 215, 216, 223, 225, 238, 241, 242, 256, 295),
    *(301, 339, 342, 354, 363, 372, 380, 392, 408, 412, 453, 456, 463, 477, 497, 541, 550, 553, 567, 573, 582, 591),
    *(609, 612, 615, 642, 645, 657, 658, 659, 663, 667, 668, 686, 700, 702, 777, 778, 782, 850, 861, 868, 874),
)
OTHER_FURNITURE = (
    *(12, 43, 48, 50, 87, 106, 111, 161, 163, 174, 183, 204, 214, 219, 221, 224, 236, 262, 278, 291, 298, 313, 343),
    *(344, 356, 359, 373, 393, 401, 414, 418, 419, 430, 443, 444, 447, 448, 457, 458, 460, 462, 475, 479, 485, 486),
    *(493, 494, 498, 499, 509, 510, 515, 521, 524, 540, 549, 551, 554, 556, 558, 576, 580, 608, 625, 703, 734, 770),
    *(772, 797, 800, 803, 804, 813, 814, 815, 820, 829, 835, 858, 863, 882, 892),
)

# The official split (splits.mat of the dataset's page): a bit for each of the 1,449 images in order; 1 is training.
TRAINING_BITS = (
    "07ef06fc00033fc83ffc3c03fffffe3e086fffe3ff881c00000781fc7ffffff7ffdf8f80ffc07f18fe003fff9801ffffc078fff87fff03e0"
    "1fff0600fffffffc080078e3fe380003f83f87f83ce0ffe07cf3c79c0c0f0663f00e7c187f9fff80000003ffc1f07e3fe00071e07e3fffff"
    "fff1fe3f1c3fe3ff86300fff83e1f1fe3fc73fcce7fff801c01010fe38039fc0007033181fc1e001c1f063ff87000ff81e002301f3ffe181"
    "f8e1fccfffc0300f807e1f0fe00"
)
IMAGES = 1449
LONGEST_SCENE = 100
"""Most characters of a scene's name, such as kitchen_0004."""


def class_table() -> np.ndarray:
    """Return the class 1..40 of each raw label 0..894, uint8 [895]; 0 is unlabeled."""
    table = np.full(RAW_CLASSES + 1, 40, np.uint8)
    table[0] = 0
    table[list(SINGLE)] = np.arange(1, len(SINGLE) + 1)
    table[list(OTHER_STRUCTURE)] = 38
    table[list(OTHER_FURNITURE)] = 39
    return table


def official_split() -> dict[str, list[str]]:
    """Return the names of the training and of the test images."""
    bits = f"{int(TRAINING_BITS, 16):0{IMAGES}b}"
    names: dict[str, list[str]] = {"train": [], "test": []}
    for index, bit in enumerate(bits):
        names["train" if bit == "1" else "test"].append(f"{index + 1:06}")
    return names


def convert_raw(root: Path) -> None:
    """Write images/NAME.png, masks/NAME.png (1..40, 0 unlabeled), and train.txt, test.txt and scenes.txt below `root`.

    A line of scenes.txt is a NAME and its scene, such as kitchen_0004.

    Files that exist are kept, and one image is in memory at a time. The images are those that RAW_FILE in `root` holds;
    the lists name only these.

    Raises:
        UserError: h5py is not installed, or the file is damaged or has other content.
    """
    path = root / RAW_FILE
    try:
        import h5py  # here, because nothing else needs it
    except ImportError as error:
        raise UserError(f"{path}: to read it, install h5py: pip install h5py") from error
    try:
        with h5py.File(path, "r") as file:
            images, labels = (_own_dataset(file, name) for name in ("images", "labels"))
            _check_form(images, labels)
            count = len(images)
            scenes = _scenes(file, count) if "scenes" in file else []
            _write_samples(images, labels, root)
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # h5py raises the first three for damaged files
        if isinstance(error, OSError) and error.errno:
            raise  # the system's own, such as a full disk
        raise UserError(f"{path}: cannot be read as NYU's labeled file ({error}). Get it again.") from error
    for split, names in official_split().items():
        write_names(root / f"{split}.txt", [name for name in names if int(name) <= count])
    if scenes:
        write_names(root / SCENES_FILE, [f"{index + 1:06} {scene}" for index, scene in enumerate(scenes)])


def _own_dataset(file: Any, name: str) -> Any:
    """Return a dataset whose values are in the file itself: HDF5 can also refer to any other file on the disk."""
    import h5py

    data = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    if not _holds_values(data):
        raise ValueError(f"it holds no data named {name!r}")
    return data


def _holds_values(data: Any) -> bool:
    import h5py

    return isinstance(data, h5py.Dataset) and not data.external and not data.is_virtual


def _scenes(file: Any, count: int) -> list[str]:
    """Return the scene of each image. MATLAB stores a cell array of texts as references to arrays of characters."""
    cells = _own_dataset(file, "scenes")
    if cells.size != count or cells.dtype.kind != "O":
        raise ValueError(f"found scenes {cells.shape} of {cells.dtype}; expected {count} references to texts")
    scenes = []
    for reference in cells[...].ravel():
        text: Any = file[reference] if reference else None
        if not _holds_values(text) or text.dtype != np.uint16 or not 1 <= text.size <= LONGEST_SCENE:
            raise ValueError("found a scene that is no short text")
        scenes.append("".join(map(chr, text[...].ravel())))
        if not re.fullmatch(r"\w+", scenes[-1], re.ASCII):
            raise ValueError(f"found the scene {scenes[-1]!r}; expected letters, digits and underscores")
    return scenes


def _check_form(images: Any, labels: Any) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or labels.shape != (len(images), *images.shape[2:]):
        raise ValueError(f"found images {images.shape} and labels {labels.shape}; expected [N, 3, W, H] and [N, W, H]")
    if not 1 <= len(images) <= IMAGES or images.shape[2] * images.shape[3] > MAX_PIXELS:
        raise ValueError(f"found images {images.shape}; expected 1 to {IMAGES} images of at most {MAX_PIXELS:,} pixels")
    if images.dtype != np.uint8 or labels.dtype.kind != "u":
        raise ValueError(f"found images of {images.dtype} and labels of {labels.dtype}; expected uint8 and uint16")


def _write_samples(images: Any, labels: Any, root: Path) -> None:
    table = class_table()
    with track(range(len(images)), f"Converting {RAW_FILE}") as indices:
        for index in indices:
            name = f"{index + 1:06}.png"
            image, mask = root / "images" / name, root / "masks" / name
            if not image.exists():
                with atomic_write(image) as file:  # MATLAB stores columns first: [3, W, H]
                    Image.fromarray(np.ascontiguousarray(images[index].transpose(2, 1, 0))).save(file, format="PNG")
            if not mask.exists():
                raw = labels[index].T
                if raw.max() > RAW_CLASSES:
                    raise ValueError(f"image {index + 1} has the label {raw.max()}; expected 0..{RAW_CLASSES}")
                write_label_image(mask, table[raw])
