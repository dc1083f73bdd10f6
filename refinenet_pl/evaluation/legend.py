"""The legend of a picture: colors and names of classes, each with a value if it has one."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from refinenet_pl.evaluation.lettering import INK, font, shortened
from refinenet_pl.evaluation.pictures import IGNORE_COLOR, IGNORED, Palette, hatch

EDGE = (90, 90, 90)
MOST_LETTERS = 20
"""Width of the longest name that is shown whole, in letters of the usual width."""


class Entry(NamedTuple):
    """One line of a legend.

    Attributes:
        name: What the color stands for.
        color: RGB, 0..255; None for a line without a color.
        value: Text at the right of the name.
        hatched: Whether the color has stripes.
    """

    name: str
    color: Sequence[int] | None
    value: str = ""
    hatched: bool = False


def class_entries(present: Iterable[int], names: Sequence[str], colors: Palette) -> list[Entry]:
    """Return one entry per class index in `present`, the smallest first; ignored pixels (255) are hatched."""
    return [
        Entry("ignored", IGNORE_COLOR, hatched=True) if index == IGNORED else Entry(names[index], colors[index])
        for index in sorted(set(present))
    ]


def draw_legend(
    entries: Sequence[Entry], text: int, height: int | None = None, width: int | None = None
) -> Image.Image:
    """Draw a legend on white, in columns that are filled from top to bottom.

    Args:
        entries: The lines. At least one.
        text: Height of the letters in pixels.
        height: If given, columns are at most so high, with at least one line each.
        width: If given, the columns together are at most so wide, with at least one column.

    Returns:
        An RGB image.
    """
    line, swatch = round(1.4 * text), round(1.5 * text)
    names = [shortened(entry.name, text, MOST_LETTERS * text * 3 // 5) for entry in entries]
    widest = math.ceil(max(font(text).getlength(name) for name in names))
    values = math.ceil(max(font(text).getlength(entry.value) for entry in entries))
    column = swatch + text // 2 + widest + (text + values if values else 0)
    columns = 1 if width is None else max(1, (width + text) // (column + text))
    rows = math.ceil(len(entries) / columns) if height is None else max(1, height // line)
    columns = math.ceil(len(entries) / rows)
    legend = Image.new("RGB", (columns * (column + text) - text, min(rows, len(entries)) * line), "white")
    draw = ImageDraw.Draw(legend)
    for position, (entry, name) in enumerate(zip(entries, names, strict=True)):
        left, top = position // rows * (column + text), position % rows * line
        if entry.color is not None:
            legend.paste(_swatch(entry, swatch, text), (left, top + (line - text) // 2))
        middle = top + line // 2
        draw.text((left + swatch + text // 2, middle), name, INK, font(text), anchor="lm")
        draw.text((left + column, middle), entry.value, INK, font(text), anchor="rm")
    return legend


def _swatch(entry: Entry, width: int, height: int) -> Image.Image:
    pixels = np.full((height, width, 3), entry.color, np.uint8)
    swatch = Image.fromarray(hatch(pixels, np.full((height, width), entry.hatched), height // 2))
    ImageDraw.Draw(swatch).rectangle((0, 0, width - 1, height - 1), outline=EDGE)
    return swatch
