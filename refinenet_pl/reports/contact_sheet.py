"""A sheet of samples: image, labels blended in, and labels alone, with a legend."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from refinenet_pl.data.classes import IGNORE_INDEX, Classes
from refinenet_pl.evaluation.legend import class_entries, draw_legend
from refinenet_pl.evaluation.lettering import INK, font, shortened
from refinenet_pl.evaluation.pictures import colorize, hatch, overlay, resize_image, resize_mask

COLUMNS = 2
"""Samples side by side."""
PANEL = 300
"""Height and width into which a picture is scaled, in pixels."""
GAP, MARGIN = 4, 28
"""Pixels between the pictures of a sample, and around samples."""
TEXT = 28
"""Height of the letters, in pixels. They can be read if the sheet is printed across a page."""
LINE = 40
"""Height of a line of text, in pixels."""
STRIPES = 8
"""Pixels from one stripe over ignored pixels to the next."""
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
    legend = draw_legend(class_entries(present, classes.names, classes.colors), TEXT, width=width - 2 * MARGIN)
    sheet = Image.new("RGB", (width, MARGIN + LINE + sum(heights) + legend.height + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN // 2), shortened(title, TEXT, width - 2 * MARGIN), INK, font(TEXT))
    top = MARGIN + LINE
    for row, height in zip(rows, heights, strict=True):
        for column, index in enumerate(row):
            left = MARGIN + column * (SLOT + MARGIN)
            draw.text((left, top), shortened(samples[index]["name"], TEXT, SLOT), INK, font(TEXT))
            sheet.paste(pictures[index], (left, top + LINE))
        top += height
    sheet.paste(legend, (MARGIN, top))
    return sheet


def _pictures(sample: Mapping[str, Any], classes: Classes) -> Image.Image:
    """Return image, image with labels, and labels side by side, each scaled to a side of PANEL pixels."""
    image = np.ascontiguousarray(np.moveaxis(np.asarray(sample["image"]), 0, -1))
    height, width = image.shape[:2]
    scale = PANEL / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pixels, labels = resize_image(image, size), resize_mask(np.asarray(sample["mask"]), size)
    ignored = labels == IGNORE_INDEX
    blended = np.where(ignored[..., None], pixels, overlay(pixels, labels, classes.colors))
    strip = Image.new("RGB", (SLOT, size[1]), "white")
    for index, panel in enumerate(
        (pixels, hatch(blended, ignored, STRIPES), hatch(colorize(labels, classes.colors), ignored, STRIPES))
    ):
        strip.paste(Image.fromarray(panel), (index * (PANEL + GAP), 0))
    return strip
