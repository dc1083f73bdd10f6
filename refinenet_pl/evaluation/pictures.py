"""Masks in color: palette images, overlays, and panels of image, target and prediction. Pixels are uint8."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from refinenet_pl.files import atomic_write

Palette = Sequence[Sequence[int]]
"""One RGB triple per class, 0..255."""
IGNORE_COLOR = (255, 255, 255)
"""RGB color of ignored pixels."""


def palette_image(mask: np.ndarray, colors: Palette) -> Image.Image:
    """Make a palette image whose pixel values are the class indices.

    Args:
        mask: Integers [H, W], 0..len(colors)-1, or 255 for ignored pixels, which are shown in white.
        colors: One RGB triple per class, 0..255.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    table[255] = IGNORE_COLOR
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette(table.tobytes())
    return image


def colorize(mask: np.ndarray, colors: Palette) -> np.ndarray:
    """Return the class colors of a mask [H, W] as RGB [H, W, 3]."""
    return np.asarray(palette_image(mask, colors).convert("RGB"))


def overlay(image: np.ndarray, mask: np.ndarray, colors: Palette, opacity: float = 0.5) -> np.ndarray:
    """Blend the class colors of a mask [H, W] over an image [H, W, 3]."""
    blended = (1 - opacity) * image.astype(np.float32) + opacity * colorize(mask, colors).astype(np.float32)
    return blended.round().astype(np.uint8)


def panel(image: np.ndarray, target: np.ndarray, prediction: np.ndarray, colors: Palette) -> np.ndarray:
    """Put image, target and prediction side by side with white gaps of 8 pixels: [H, 3 W + 16, 3]."""
    gap = np.full((image.shape[0], 8, 3), 255, np.uint8)
    return np.hstack([image, gap, colorize(target, colors), gap, colorize(prediction, colors)])


def save_picture(path: str | Path, picture: Image.Image | np.ndarray) -> None:
    """Write an image as PNG. Its folder is created."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    with atomic_write(path) as file:
        image.save(file, format="PNG")
