"""Reads images and label images from files."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torchvision import tv_tensors

from refinenet_pl.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are truncated, damaged, not images, or suspiciously large."""


def is_image(path: str | Path) -> bool:
    """Whether a file has an image suffix. Hidden files do not count: macOS leaves some beside images."""
    path = Path(path)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path: str | Path, upright: bool = False) -> tv_tensors.Image:
    """Read an image file of any mode as RGB.

    Args:
        path: The file.
        upright: Turn the image as its EXIF orientation says, as viewers do. Do not turn images that have labels: label
            images are drawn for the stored pixels.

    Returns:
        uint8 [3, H, W]. 16-bit grays are scaled to 0..255; transparency is dropped.

    Raises:
        UserError: The file cannot be read as an image.
    """
    try:
        with Image.open(path) as image:
            return tv_tensors.Image(to_rgb(ImageOps.exif_transpose(image) if upright else image))
    except UNREADABLE as error:
        raise _unreadable(path, "image", error) from error


def read_mask(path: str | Path) -> np.ndarray:
    """Read the raw values of a label image: palette indices, gray values, or SBD's .mat file.

    Args:
        path: The file.

    Returns:
        Signed or unsigned integers [H, W].

    Raises:
        UserError: The file cannot be read, or is a color image.
    """
    if Path(path).suffix == ".mat":
        return _read_sbd(path)
    try:
        with Image.open(path) as image:
            if image.getbands() not in {("P",), ("L",), ("I",), ("1",)} and not image.mode.startswith("I;16"):
                raise UserError(
                    f"{path}: labels must be a palette or grayscale image whose values are class numbers, but this "
                    f"image has mode {image.mode}. If its colors stand for classes, convert them to class numbers."
                )
            values = np.asarray(image)
            return values.astype(np.uint8) if values.dtype == np.bool_ else values
    except UNREADABLE as error:
        raise _unreadable(path, "label image", error) from error


def _read_sbd(path: str | Path) -> np.ndarray:
    from scipy.io import loadmat  # here, because only SBD needs it and it is slow to import
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(path, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except (*UNREADABLE, KeyError, TypeError, IndexError, NotImplementedError, MatReadError) as error:
        raise _unreadable(path, "SBD label file (.mat with GTcls.Segmentation)", error) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB; raises ValueError if its pixels have no known range."""
    if image.mode == "F":
        raise ValueError("32-bit floating point pixels have no fixed range; save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit integer pixels exceed 0..65535; save it with 8 or 16 bits per channel")
        image = Image.fromarray((values // 257).astype(np.uint8))  # Pillow's own conversion would clip at 255
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns if a palette with transparency is converted to RGB directly
    return image.convert("RGB")


def _unreadable(path: str | Path, kind: str, error: Exception) -> UserError:
    return UserError(
        f"{path}: cannot be read as {kind} ({type(error).__name__}: {error}). "
        "The file may be damaged or incomplete: get it again."
    )
