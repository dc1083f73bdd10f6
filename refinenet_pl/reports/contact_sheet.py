"""A sheet of samples: image, labels blended in, and labels alone, with the names and colors of the classes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from refinenet_pl.data.classes import IGNORE_INDEX, Classes, Color
from refinenet_pl.evaluation.pictures import IGNORE_COLOR, colorize, overlay

COLUMNS = 3
"""Samples side by side."""
PANEL = 240
"""Height and width into which a picture is scaled, in pixels."""
GAP, MARGIN = 4, 20
"""Pixels between the pictures of a sample, and around samples."""
TEXT, TITLE = 16, 22
"""Heights of the letters, in pixels."""
LINE = 26
"""Height of a line of text, in pixels."""
SWATCH = (26, 16)
"""Width and height of a color in the legend, in pixels."""
STRIPES = 8
"""Pixels from one stripe over ignored pixels to the next."""
INK, EDGE, STRIPE = (0, 0, 0), (90, 90, 90), (150, 150, 150)
SLOT = 3 * PANEL + 2 * GAP
"""Width of a sample, in pixels."""


def contact_sheet(title: str, samples: Sequence[Mapping[str, Any]], classes: Classes) -> Image.Image:
    """Draw a sheet. The same samples give the same pixels.

    Args:
        title: The first line.
        samples: "image" uint8 [3, H, W], "mask" uint8 [H, W] and "name" of each, of any sizes. At least one.
        classes: Names and colors. The legend has those that are in the masks, and ignored pixels if there are some.

    Returns:
        An RGB image.
    """
    pictures = [_pictures(sample, classes) for sample in samples]
    columns = min(COLUMNS, len(samples))
    rows = [range(start, min(start + columns, len(samples))) for start in range(0, len(samples), columns)]
    heights = [max(pictures[index].height for index in row) + LINE + MARGIN for row in rows]
    width = MARGIN + columns * (SLOT + MARGIN)
    present = np.unique(np.concatenate([np.unique(sample["mask"]) for sample in samples])).tolist()
    legend = _legend(present, classes, width - 2 * MARGIN)
    sheet = Image.new("RGB", (width, 2 * MARGIN + TITLE + sum(heights) + legend.height + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN // 2), _shortened(title, TITLE, width - 2 * MARGIN), INK, _font(TITLE))
    top = MARGIN + TITLE + MARGIN // 2
    for row, height in zip(rows, heights, strict=True):
        for column, index in enumerate(row):
            left = MARGIN + column * (SLOT + MARGIN)
            draw.text((left, top), _shortened(samples[index]["name"], TEXT, SLOT), INK, _font(TEXT))
            sheet.paste(pictures[index], (left, top + LINE))
        top += height
    sheet.paste(legend, (MARGIN, top))
    return sheet


def _pictures(sample: Mapping[str, Any], classes: Classes) -> Image.Image:
    """Return image, image with labels, and labels side by side, each scaled to a side of PANEL pixels."""
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(np.asarray(sample["image"]), 0, -1)))
    mask = Image.fromarray(np.asarray(sample["mask"]))
    scale = PANEL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # Enlarged pixels stay visible as squares.
    pixels = np.asarray(image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX))
    labels = np.asarray(mask.resize(size, Image.Resampling.NEAREST))
    ignored = labels == IGNORE_INDEX
    blended = np.where(ignored[..., None], pixels, overlay(pixels, labels, classes.colors))
    strip = Image.new("RGB", (SLOT, size[1]), "white")
    for index, panel in enumerate(
        (pixels, _striped(blended, ignored), _striped(colorize(labels, classes.colors), ignored))
    ):
        strip.paste(Image.fromarray(panel), (index * (PANEL + GAP), 0))
    return strip


def _striped(picture: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Return a picture [H, W, 3] with diagonal stripes over the ignored pixels."""
    rows, columns = np.indices(ignored.shape)
    stripes = ignored & ((rows + columns) % STRIPES < 2)
    return np.where(stripes[..., None], np.array(STRIPE, np.uint8), picture)


def _legend(present: Sequence[int], classes: Classes, width: int) -> Image.Image:
    """Return the colors and names of some class indices, in as many columns of equal width as fit."""
    entries: list[tuple[str, Color, bool]] = [
        ("ignored", IGNORE_COLOR, True)
        if index == IGNORE_INDEX
        else (classes.names[index], classes.colors[index], False)
        for index in present
    ]
    names = [_shortened(name, TEXT, width // 2 - SWATCH[0] - MARGIN) for name, _, _ in entries]
    column = SWATCH[0] + math.ceil(max(_font(TEXT).getlength(name) for name in names)) + 8 + MARGIN
    columns = max(1, width // column)
    legend = Image.new("RGB", (width, math.ceil(len(names) / columns) * LINE), "white")
    draw = ImageDraw.Draw(legend)
    for position, (name, (_, color, striped)) in enumerate(zip(names, entries, strict=True)):
        left, top = position % columns * column, position // columns * LINE
        swatch = np.full((SWATCH[1], SWATCH[0], 3), color, np.uint8)
        legend.paste(Image.fromarray(_striped(swatch, np.full(swatch.shape[:2], striped))), (left, top + 3))
        draw.rectangle((left, top + 3, left + SWATCH[0] - 1, top + SWATCH[1] + 2), outline=EDGE)
        draw.text((left + SWATCH[0] + 8, top), name, INK, _font(TEXT))
    return legend


def _shortened(text: str, size: int, width: int) -> str:
    """Return a text in one line that fits into a width; what does not fit is cut at its front."""
    text, start = " ".join(text.split()), 0
    while _font(size).getlength(("…" if start else "") + text[start:]) > width:
        start += 1
    return ("…" if start else "") + text[start:]


def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib's, because Pillow's own has few letters beyond ASCII, and systems have different ones.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
