"""Masks in color: palette files, overlays, and image-truth-prediction panels. Pixels are uint8 throughout."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from refinenet_pl.files import atomic_write

Palette = Sequence[Sequence[int]]
IGNORE_COLOR = (255, 255, 255)


def palette_image(labels: np.ndarray, colors: Palette) -> Image.Image:
    """A palette picture whose pixel values are the labels themselves and whose colors are the classes'.

    Args:
        labels: Integers [H, W], 0..len(colors)-1, or 255 for void, which shows white.
        colors: An RGB triple per class.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    table[255] = IGNORE_COLOR
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette(table.tobytes())
    return picture


def colorize(labels: np.ndarray, colors: Palette) -> np.ndarray:
    """RGB [H, W, 3] of labels [H, W]."""
    return np.asarray(palette_image(labels, colors).convert("RGB"))


def overlay(image: np.ndarray, labels: np.ndarray, colors: Palette, opacity: float = 0.5) -> np.ndarray:
    """The image [H, W, 3] with the classes' colors laid over it."""
    mixed = (1 - opacity) * image.astype(np.float32) + opacity * colorize(labels, colors).astype(np.float32)
    return mixed.round().astype(np.uint8)


def panel(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, colors: Palette) -> np.ndarray:
    """Image, truth and prediction side by side with a thin white gap: [H, 3 W + 16, 3]."""
    gap = np.full((image.shape[0], 8, 3), 255, np.uint8)
    return np.hstack([image, gap, colorize(truth, colors), gap, colorize(predicted, colors)])


def save_picture(path: Path, picture: Image.Image | np.ndarray) -> None:
    """Write a PNG."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    with atomic_write(path) as file:
        image.save(file, format="PNG")
