"""The geometry of inference by windows: where they lie, and how their logits reach the image's resolution."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STRIP_ELEMENTS = 2**20
"""Logits reach the image's resolution a strip of rows at a time, of so many numbers: 4 MB, which a cache holds."""


class AxisWindow(NamedTuple):
    """A window along one axis: the pixels of the resized image that it shows, and those of the image that it decides.

    Attributes:
        window: The pixels of the resized image.
        pixels: The pixels of the image whose centers lie in the window.
        position: Where in the window each of these centers lies, 0..1, float64.
        share: One over the number of windows that decide each pixel, float32.
        regular: Whether the pixels fill the window from edge to edge, at equal distances.
    """

    window: slice
    pixels: slice
    position: Tensor
    share: Tensor
    regular: bool


def split_axis(resized: int, length: int, side: int, stride: int, device: torch.device) -> list[AxisWindow]:
    """Windows over one axis of an image, each whole: the last one ends with the image.

    Args:
        resized: Pixels of the resized image.
        length: Pixels of the image itself.
        side: Of the windows, in pixels of the resized image; at most `resized` are taken.
        stride: From one window to the next.
        device: Where the tensors are put.
    """
    side = min(side, resized)
    count = -(-(resized - side) // stride) + 1
    starts = [min(index * stride, resized - side) for index in range(count)]
    centers = (torch.arange(length, dtype=torch.float64, device=device) + 0.5) * resized / length
    deciding = torch.zeros(length, device=device)
    pixels = [slice(_first(start, resized, length), _first(start + side, resized, length)) for start in starts]
    for decided in pixels:
        deciding[decided] += 1
    regular = side == resized or resized == length
    return [
        AxisWindow(
            slice(start, start + side),
            decided,
            (centers[decided] - start) / side,
            1 / deciding[decided],
            regular,
        )
        for start, decided in zip(starts, pixels, strict=True)
    ]


def _first(edge: int, resized: int, length: int) -> int:
    """The first of an image's pixels whose center lies at or after an edge in the resized image."""
    return -((resized - 2 * edge * length) // (2 * resized))


class Patch(NamedTuple):
    """What a network says of one window.

    Attributes:
        logits: float [C, h, w], at any resolution.
        rows: The window down the image.
        columns: The window across it.
    """

    logits: Tensor
    rows: AxisWindow
    columns: AxisWindow

    def strips(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices into `rows.pixels`, and the logits there at the image's resolution, float32 [C, rows, columns]."""
        height, width = len(self.rows.position), len(self.columns.position)
        if width == 0:  # of an enlarged image, a window smaller than a pixel
            return
        step = max(1, STRIP_ELEMENTS // (len(self.logits) * width))
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            strip = interpolate(self.logits, self.rows.position[rows], dim=1)
            if self.columns.regular:  # which torch does several times as fast
                strip = F.interpolate(strip[None], (strip.shape[1], width), mode="bilinear", align_corners=False)[0]
            else:
                strip = interpolate(strip, self.columns.position, dim=2)
            yield rows, strip

    def add_to(self, total: Tensor, views: int) -> None:
        """Add the softmax scores, divided by all that decide a pixel, to the image's own, float32 [C, H, W]."""
        decided = total[:, self.rows.pixels, self.columns.pixels]
        for rows, strip in self.strips():
            share = self.rows.share[rows, None] * self.columns.share / views
            decided[:, rows] += strip.softmax(dim=0).mul_(share)


def interpolate(values: Tensor, position: Tensor, dim: int) -> Tensor:
    """Values at positions 0..1 along an axis, linear between the centers of its cells, constant beyond the outermost.

    Args:
        values: float [C, h, w].
        position: float64 [n].
        dim: 1 or 2.

    Returns:
        float32 [C, n, w] or [C, h, n].
    """
    cells = values.shape[dim]
    cell = (position * cells - 0.5).clamp(0, cells - 1)
    lower = cell.floor().long()
    upper = (lower + 1).clamp(max=cells - 1)
    weight = (cell - lower).float()
    return torch.lerp(
        values.index_select(dim, lower).float(),
        values.index_select(dim, upper).float(),
        weight[:, None] if dim == 1 else weight,
    )
