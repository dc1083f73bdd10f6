"""Window geometry for inference: where windows are, and how their logits are resized to the image."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STRIP_ELEMENTS = 2**20
"""Logits are resized in strips of rows with at most this many numbers: 4 MB, which fit a CPU cache."""


class AxisWindow(NamedTuple):
    """A window along one axis (rows or columns).

    The network sees pixels of the resized image. The window covers the pixels of the original image whose centers are
    inside.

    Attributes:
        window: Pixels of the resized image.
        pixels: Pixels of the original image that the window covers.
        position: Positions of their centers in the window, 0..1, float64.
        weight: One over the number of windows that cover each pixel, float32.
        plain_resize: Whether the positions are those of a plain resize of the whole window. `F.interpolate` then
            gives the same result as `interpolate`.
    """

    window: slice
    pixels: slice
    position: Tensor
    weight: Tensor
    plain_resize: bool


def split_axis(resized: int, length: int, side: int, stride: int, device: torch.device) -> list[AxisWindow]:
    """Split one axis of an image into windows of equal size. The last window ends at the image border.

    Args:
        resized: Length of the axis in the resized image, in pixels.
        length: Length of the axis in the original image, in pixels.
        side: Length of each window, in pixels of the resized image. At most `resized` is used.
        stride: Distance between windows, in pixels of the resized image.
        device: Device of the tensors.
    """
    side = min(side, resized)
    count = -(-(resized - side) // stride) + 1
    starts = [min(index * stride, resized - side) for index in range(count)]
    centers = (torch.arange(length, dtype=torch.float64, device=device) + 0.5) * resized / length
    covered = [
        slice(_first_pixel(start, resized, length), _first_pixel(start + side, resized, length)) for start in starts
    ]
    cover_counts = torch.zeros(length, device=device)
    for pixels in covered:
        cover_counts[pixels] += 1
    return [
        AxisWindow(
            window=slice(start, start + side),
            pixels=pixels,
            position=(centers[pixels] - start) / side,
            weight=1 / cover_counts[pixels],
            plain_resize=side == resized or resized == length,
        )
        for start, pixels in zip(starts, covered, strict=True)
    ]


def _first_pixel(edge: int, resized: int, length: int) -> int:
    """Return the first pixel of the original image whose center is at or after an edge in the resized image."""
    return -((resized - 2 * edge * length) // (2 * resized))


class WindowLogits(NamedTuple):
    """The logits of one window.

    Attributes:
        logits: float [C, h, w], at any resolution.
        rows: The window along the image's rows.
        columns: The window along the image's columns.
    """

    logits: Tensor
    rows: AxisWindow
    columns: AxisWindow

    def strips(self) -> Iterator[tuple[slice, Tensor]]:
        """Resize the logits to the original image, one strip of rows at a time, to bound memory.

        Yields:
            A slice of `rows.pixels`, and its logits, float32 [C, rows, columns].
        """
        height, width = len(self.rows.position), len(self.columns.position)
        if width == 0:  # the image is enlarged, and the window is smaller than one original pixel
            return
        step = max(1, STRIP_ELEMENTS // (len(self.logits) * width))
        logits = self.logits.contiguous()  # a channels-last network's are not; rows are then copied slowly
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            strip = interpolate(logits, self.rows.position[rows], dim=1)
            if self.columns.plain_resize:  # several times as fast
                strip = F.interpolate(strip[None], (strip.shape[1], width), mode="bilinear", align_corners=False)[0]
            else:
                strip = interpolate(strip, self.columns.position, dim=2)
            yield rows, strip

    def resized(self) -> Tensor:
        """Resize the logits to the pixels that the window covers, float32 [C, rows, columns]."""
        return torch.cat([strip for _, strip in self.strips()], dim=1)

    def add_to(self, total: Tensor, views: int) -> None:
        """Add the softmax probabilities, weighted for the average over windows and views.

        Args:
            total: Sum for the whole image, float32 [C, H, W]; changed in place.
            views: Number of views (scales and flips) of the image.
        """
        covered = total[:, self.rows.pixels, self.columns.pixels]
        for rows, strip in self.strips():
            weight = self.rows.weight[rows, None] * self.columns.weight / views
            covered[:, rows] += strip.softmax(dim=0).mul_(weight)


def interpolate(values: Tensor, position: Tensor, dim: int) -> Tensor:
    """Interpolate along one axis: linear between pixel centers, constant beyond the outermost centers.

    Args:
        values: float [C, h, w].
        position: Positions along the axis, 0..1, float64 [n].
        dim: 1 or 2.

    Returns:
        float32 [C, n, w] or [C, h, n].
    """
    length = values.shape[dim]
    index = (position * length - 0.5).clamp(0, length - 1)
    lower = index.floor().long()
    upper = (lower + 1).clamp(max=length - 1)
    weight = (index - lower).float()
    return torch.lerp(
        values.index_select(dim, lower).float(),
        values.index_select(dim, upper).float(),
        weight[:, None] if dim == 1 else weight,
    )
