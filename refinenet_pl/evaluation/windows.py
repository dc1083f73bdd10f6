"""Geometry of windowed inference: where the windows are, and how their logits reach the image's resolution."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STRIP_ELEMENTS = 2**20
"""Logits are upsampled in strips of rows with at most this many values: 4 MB, which fits a CPU cache."""


class AxisWindow(NamedTuple):
    """A window along one axis of a resized image, and the pixels of the original image inside it.

    Attributes:
        window: Pixels of the resized image.
        pixels: Pixels of the original image whose centers are in the window.
        position: Position of each center in the window, float64 in 0..1.
        weight: Weight of the window at each pixel, float32: 1 / number of windows that hold the pixel.
        spans_window: Whether the pixels divide the window evenly from edge to edge, as `F.interpolate` assumes.
    """

    window: slice
    pixels: slice
    position: Tensor
    weight: Tensor
    spans_window: bool


def split_axis(resized: int, length: int, side: int, stride: int, device: torch.device) -> list[AxisWindow]:
    """Split one axis of an image into windows of equal size; the last window ends at the border.

    Args:
        resized: Pixels of the resized image.
        length: Pixels of the original image.
        side: Side of the windows, in pixels of the resized image. At most `resized` is used.
        stride: Distance from one window to the next.
        device: Device of the tensors.
    """
    side = min(side, resized)
    count = -(-(resized - side) // stride) + 1
    starts = [min(index * stride, resized - side) for index in range(count)]
    centers = (torch.arange(length, dtype=torch.float64, device=device) + 0.5) * resized / length
    slices = [
        slice(_first_pixel(start, resized, length), _first_pixel(start + side, resized, length)) for start in starts
    ]
    windows_per_pixel = torch.zeros(length, device=device)
    for pixels in slices:
        windows_per_pixel[pixels] += 1
    return [
        AxisWindow(
            window=slice(start, start + side),
            pixels=pixels,
            position=(centers[pixels] - start) / side,
            weight=1 / windows_per_pixel[pixels],
            spans_window=side == resized or resized == length,
        )
        for start, pixels in zip(starts, slices, strict=True)
    ]


def _first_pixel(edge: int, resized: int, length: int) -> int:
    """Return the first pixel of the original image whose center is at or after an edge in the resized image."""
    return -((resized - 2 * edge * length) // (2 * resized))


class WindowLogits(NamedTuple):
    """A network's logits of one window.

    Attributes:
        logits: float [C, h, w] at any resolution.
        rows: The window along the rows.
        columns: The window along the columns.
    """

    logits: Tensor
    rows: AxisWindow
    columns: AxisWindow

    def upsampled_strips(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the logits at the image's resolution, in strips of rows.

        Yields:
            A slice of `rows.pixels`, and its logits, float32 [C, rows, columns].
        """
        height, width = len(self.rows.position), len(self.columns.position)
        if width == 0:  # a window of an enlarged image may be smaller than one original pixel
            return
        step = max(1, STRIP_ELEMENTS // (len(self.logits) * width))
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            strip = interpolate(self.logits, self.rows.position[rows], dim=1)
            if self.columns.spans_window:  # F.interpolate is several times as fast
                strip = F.interpolate(strip[None], (strip.shape[1], width), mode="bilinear", align_corners=False)[0]
            else:
                strip = interpolate(strip, self.columns.position, dim=2)
            yield rows, strip

    def add_probabilities(self, total: Tensor, views: int) -> None:
        """Add the window's weighted softmax probabilities to those of the image, in place.

        Args:
            total: Probabilities of the image, float32 [C, H, W].
            views: Number of scales and flips to average over.
        """
        inside = total[:, self.rows.pixels, self.columns.pixels]
        for rows, strip in self.upsampled_strips():
            weight = self.rows.weight[rows, None] * self.columns.weight / views
            inside[:, rows] += strip.softmax(dim=0).mul_(weight)


def interpolate(values: Tensor, position: Tensor, dim: int) -> Tensor:
    """Interpolate linearly between the cell centers along one axis; constant beyond the outermost centers.

    Args:
        values: float [C, h, w].
        position: Positions along the axis, float64 [n] in 0..1.
        dim: The axis, 1 or 2.

    Returns:
        float32 [C, n, w] or [C, h, n].
    """
    size = values.shape[dim]
    coordinate = (position * size - 0.5).clamp(0, size - 1)
    lower = coordinate.floor().long()
    upper = (lower + 1).clamp(max=size - 1)
    weight = (coordinate - lower).float()
    return torch.lerp(
        values.index_select(dim, lower).float(),
        values.index_select(dim, upper).float(),
        weight[:, None] if dim == 1 else weight,
    )
