"""Masks in color: palette images, overlays, and panels of image, target and prediction. All pixels are uint8."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from refinenet_pl.files import atomic_write

Palette = Sequence[Sequence[int]]
IGNORE_COLOR = (255, 255, 255)


def palette_image(mask: np.ndarray, colors: Palette) -> Image.Image:
    """Return a palette image whose values are the class indices, and whose palette is the class colors.

    Args:
        mask: Class indices [H, W] of any integer type, 0..len(colors)-1, or 255 for ignored pixels, which are white.
        colors: One RGB triple per class.
    """
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    palette[255] = IGNORE_COLOR
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette(palette.tobytes())
    return image


def colorize(mask: np.ndarray, colors: Palette) -> np.ndarray:
    """Return a mask [H, W] in class colors, RGB [H, W, 3]."""
    return np.asarray(palette_image(mask, colors).convert("RGB"))


def overlay(image: np.ndarray, mask: np.ndarray, colors: Palette, opacity: float = 0.5) -> np.ndarray:
    """Blend an image [H, W, 3] with the class colors of a mask [H, W].

    Args:
        image: RGB pixels.
        mask: Class indices.
        colors: One RGB triple per class.
        opacity: Weight of the colors, 0..1.
    """
    mixed = (1 - opacity) * image.astype(np.float32) + opacity * colorize(mask, colors).astype(np.float32)
    return mixed.round().astype(np.uint8)


def panel(image: np.ndarray, target: np.ndarray, prediction: np.ndarray, colors: Palette) -> np.ndarray:
    """Return image, target and prediction side by side with white gaps of 8 pixels, [H, 3 W + 16, 3]."""
    gap = np.full((image.shape[0], 8, 3), 255, np.uint8)
    return np.hstack([image, gap, colorize(target, colors), gap, colorize(prediction, colors)])


def save_picture(path: str | Path, image: Image.Image | np.ndarray) -> None:
    """Write an image as a PNG file. Its folder is created."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    with atomic_write(path) as file:
        image.save(file, format="PNG")
