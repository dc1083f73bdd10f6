"""Images and label images, read from disk into samples."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision import tv_tensors

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, zlib.error, Image.DecompressionBombError)
"""What Pillow raises on files that are truncated, damaged, no images, or suspiciously large."""

UNKNOWN = -1  # in a label table: this raw value means nothing in this dataset


class Sample(NamedTuple):
    """Where one sample lies, before it is read."""

    image: Path
    mask: Path | None
    """None where there are no labels."""
    name: str
    """Names the sample in results, and the files made from it; unique in its split."""


class SegmentationDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Reads samples and gives their labels as train ids.

    A sample is {"image": tv_tensors.Image uint8 [3, H, W], "mask": tv_tensors.Mask uint8 [H, W], "name": str}; the mask
    holds 0..num_classes - 1, and IGNORE_INDEX where a pixel has no class.

    Args:
        samples: What to read; every sample has a mask.
        num_classes: How many classes there are.
        label_ids: The train id (or IGNORE_INDEX) of each value 0..255 that label images may hold. None: 0..num_classes - 1
            and IGNORE_INDEX stand for themselves.
        transform: Applied to each sample. None: samples stay as they are on disk.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        num_classes: int,
        label_ids: Mapping[int, int] | None = None,
        transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self.samples = samples
        self.transform = transform
        self._label_ids = (
            {**{i: i for i in range(num_classes)}, IGNORE_INDEX: IGNORE_INDEX} if label_ids is None else dict(label_ids)
        )
        self._table = np.full(256, UNKNOWN, dtype=np.int16)
        self._table[list(self._label_ids)] = list(self._label_ids.values())

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Reads a sample.

        Raises:
            UserError: A file cannot be read, the two sizes differ, or the mask holds a value that is no class.
        """
        sample = self.samples[index]
        image = read_image(sample.image)
        mask = self.labels(index)
        if mask.shape != image.shape[1:]:
            raise UserError(
                f"{sample.mask}: the labels are {_size(mask.shape)} pixels, but their image {sample.image} is "
                f"{_size(image.shape[1:])} (height x width). Labels must have their image's size: "
                "find the label image that was drawn for it."
            )
        read = {"image": image, "mask": tv_tensors.Mask(torch.from_numpy(mask)), "name": sample.name}
        return read if self.transform is None else self.transform(read)

    def labels(self, index: int) -> np.ndarray:
        """The train ids of a sample as they are on disk, without its image: uint8 [H, W]; raises UserError."""
        path = self.samples[index].mask
        assert path is not None
        return self._train_ids(read_mask(path), path)

    def _train_ids(self, raw: np.ndarray, path: Path) -> np.ndarray:
        fits = raw.dtype == np.uint8 or (raw.min() >= 0 and raw.max() <= 255)
        mask = self._table[raw] if fits else None
        if mask is None or mask.min() == UNKNOWN:
            found = sorted(set(np.unique(raw).tolist()) - self._label_ids.keys())
            raise UserError(
                f"{path}: holds label values that are no class: {_listed(found)}. "
                f"Expected only {_listed(sorted(self._label_ids))}. "
                "Is this the right dataset, and its label image rather than a picture of it?"
            )
        return mask.astype(np.uint8)


def is_image(path: Path) -> bool:
    """Whether a file looks like an image, by its suffix; hidden files, as macOS leaves beside images, do not."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path: Path, upright: bool = False) -> tv_tensors.Image:
    """Reads an image file of any kind as RGB.

    Args:
        path: The file.
        upright: Turn the image as its EXIF orientation says, as viewers do. Label images are drawn for the pixels as
            they are stored, so images that have labels must not be turned.

    Returns:
        uint8 [3, H, W]. 16-bit grays are scaled to 0..255; transparency is dropped.

    Raises:
        UserError: The file cannot be read as an image.
    """
    try:
        with Image.open(path) as image:
            return tv_tensors.Image(_to_rgb(ImageOps.exif_transpose(image) if upright else image))
    except UNREADABLE as error:
        raise _unreadable(path, "image", error) from error


def read_mask(path: Path) -> np.ndarray:
    """Reads the raw values of a label image: the palette indices or gray values of a PNG, or SBD's .mat.

    Args:
        path: The file.

    Returns:
        Unsigned or signed integers [H, W].

    Raises:
        UserError: The file cannot be read, or is a color image.
    """
    if path.suffix == ".mat":
        return _read_sbd(path)
    try:
        with Image.open(path) as image:
            if image.getbands() not in {("P",), ("L",), ("I",), ("1",)} and not image.mode.startswith("I;16"):
                raise UserError(
                    f"{path}: labels must be a palette or grayscale image whose values are class numbers, but this is "
                    f"an image of mode {image.mode}. If its colors stand for classes, convert it to class numbers."
                )
            values = np.asarray(image)
            return values.astype(np.uint8) if values.dtype == np.bool_ else values
    except UNREADABLE as error:
        raise _unreadable(path, "label image", error) from error


def _read_sbd(path: Path) -> np.ndarray:
    from scipy.io import loadmat  # here, because only SBD needs it and it is slow to import
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(path, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except (*UNREADABLE, KeyError, TypeError, IndexError, NotImplementedError, MatReadError) as error:
        raise _unreadable(path, "SBD label file (.mat with GTcls.Segmentation)", error) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("32-bit floating point pixels have no fixed range; save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit integer pixels out of 0..65535; save it with 8 or 16 bits a channel")
        image = Image.fromarray((values // 257).astype(np.uint8))  # Pillow's own conversion would clip at 255
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns where a palette with transparency goes to RGB directly
    return image.convert("RGB")


def _unreadable(path: Path, kind: str, error: Exception) -> UserError:
    return UserError(
        f"{path}: cannot be read as {kind} ({type(error).__name__}: {error}). "
        "It may be damaged or only partly copied: fetch it again."
    )


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _listed(values: Sequence[int], most: int = 40) -> str:
    return ", ".join(map(str, values[:most])) + (f" ... ({len(values)} in all)" if len(values) > most else "")
