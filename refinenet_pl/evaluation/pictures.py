"""Masks in color: palette images, overlays with contours, and stripes over ignored pixels. All pixels are uint8."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from refinenet_pl.files import atomic_write

Palette = Sequence[Sequence[int]]
IGNORED = 255
"""Index of ignored pixels."""
IGNORE_COLOR, STRIPE = (255, 255, 255), (120, 120, 120)


def palette_image(mask: np.ndarray, colors: Palette) -> Image.Image:
    """Return a palette image whose values are the class indices, and whose palette is the class colors.

    Args:
        mask: Class indices [H, W] of any integer type, 0..len(colors)-1, or 255 for ignored pixels, which are white.
        colors: One RGB triple per class.
    """
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colors)] = colors
    palette[IGNORED] = IGNORE_COLOR
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette(palette.tobytes())
    return image


def colorize(mask: np.ndarray, colors: Palette) -> np.ndarray:
    """Return a mask [H, W] in class colors, RGB [H, W, 3]."""
    return np.asarray(palette_image(mask, colors).convert("RGB"))


def hatch(picture: np.ndarray, ignored: np.ndarray, spacing: int) -> np.ndarray:
    """Draw diagonal gray stripes over the ignored pixels of a picture.

    Args:
        picture: RGB pixels [H, W, 3].
        ignored: Where to draw, bool [H, W].
        spacing: Pixels from one stripe to the next, along a row.
    """
    height, width = ignored.shape
    stripes = (np.arange(height)[:, None] + np.arange(width)) % spacing < max(1, spacing // 3)
    return np.where((ignored & stripes)[..., None], np.array(STRIPE, np.uint8), picture)


def overlay(image: np.ndarray, mask: np.ndarray, colors: Palette, opacity: float = 0.5) -> np.ndarray:
    """Blend an image [H, W, 3] with the class colors of a mask [H, W], and draw the contours of the classes.

    Args:
        image: RGB pixels.
        mask: Class indices.
        colors: One RGB triple per class.
        opacity: Weight of the colors, 0..1. Contours have the color of their class, whatever the opacity.
    """
    colored = colorize(mask, colors)
    mixed = (1 - opacity) * image.astype(np.float32) + opacity * colored.astype(np.float32)
    return np.where(contours(mask)[..., None], colored, mixed.round().astype(np.uint8))


def contours(mask: np.ndarray) -> np.ndarray:
    """Return which pixels of a mask [H, W] lie next to another class, bool [H, W]. Lines are wider on large masks."""
    edges = np.zeros(mask.shape, bool)
    across, down = mask[:, 1:] != mask[:, :-1], mask[1:] != mask[:-1]
    for side, differs in ((np.s_[:, 1:], across), (np.s_[:, :-1], across), (np.s_[1:], down), (np.s_[:-1], down)):
        edges[side] |= differs
    for _ in range(max(mask.shape) // 800):
        wider = edges.copy()
        wider[:, 1:] |= edges[:, :-1]
        wider[:, :-1] |= edges[:, 1:]
        wider[1:] |= edges[:-1]
        wider[:-1] |= edges[1:]
        edges = wider
    return edges


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize RGB pixels [H, W, 3] to a width and height: smoothly if that enlarges them, else by averages."""
    enlarges = size > (image.shape[1], image.shape[0])
    method = Image.Resampling.BICUBIC if enlarges else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image).resize(size, method))


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask, uint8 or bool [H, W], to a width and height. Its values stay as they are."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)).astype(mask.dtype)


def save_picture(path: str | Path, image: Image.Image | np.ndarray, texts: Mapping[str, str] | None = None) -> None:
    """Write an image as a PNG file. Its folder is created.

    Args:
        path: The file.
        image: The image, or RGB pixels [H, W, 3].
        texts: Texts that are kept in the file, by key.
    """
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    info = PngInfo()
    for key, text in (texts or {}).items():
        info.add_text(key, text)
    with atomic_write(path) as file:
        # RGB is to look at: this is twice as fast as the default, and the files are a tenth larger.
        image.save(file, format="PNG", compress_level=1 if image.mode == "RGB" else 6, pnginfo=info)
