"""Text on pictures."""

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont

INK = (0, 0, 0)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font whose letters are `size` pixels high, including the space above and below them."""
    # Matplotlib's, because Pillow's own has few letters beyond ASCII, and systems have different ones.
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def shortened(text: str, size: int, width: int) -> str:
    """Return a text in one line that fits into a width in pixels; what does not fit is cut at its front."""
    text, start = " ".join(text.split()), 0
    while font(size).getlength(("…" if start else "") + text[start:]) > width and start < len(text):
        start += 1
    return ("…" if start else "") + text[start:]
