"""Writes converted label images: once each, as palette PNGs."""

from pathlib import Path

import numpy as np
from PIL import Image

from refinenet_pl.data.classes import voc_colors
from refinenet_pl.files import atomic_write

PALETTE = np.array(voc_colors(256), np.uint8).tobytes()


def write_label_image(path: Path, values: np.ndarray) -> None:
    """Write a label image with VOC's color map as its palette.

    Args:
        path: The PNG. Its folder is created.
        values: Stored values, integers in 0..255 of shape [H, W].
    """
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(PALETTE)
    with atomic_write(path) as file:
        image.save(file, format="PNG")


def write_names(path: Path, names: list[str]) -> None:
    """Write a list file, one name per line, unless it exists: users have lists of their own."""
    if path.exists():
        return
    with atomic_write(path) as file:
        file.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
