"""Random scaling, cropping, flipping and color jitter of an image together with its mask."""

from typing import Any, NamedTuple

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError

MEAN_COLOR = (124, 116, 104)
"""ImageNet's mean RGB color in 0..255: padded with it, an image is zero there once normalized."""


class _Axis(NamedTuple):
    """What happens along one axis: pixels start..start+window are resized to `resized` pixels, put at `offset`."""

    start: int
    window: int
    resized: int
    offset: int


class RandomScaleCrop(v2.Transform):
    """Scales an image and its mask by a random factor and cuts a random crop of fixed size out of them.

    The crop is taken before the resize, so that only those pixels are resized that end up in it. Where the scaled
    image is smaller than the crop, it is put at a random place and surrounded by the mean color, its mask by IGNORE_INDEX.

    Args:
        crop_size: Height and width of the result, in pixels.
        scale_range: Lowest and highest scale factor; the factor is uniform between them.
        short_side: Lowest and highest length of the scaled image's shorter side, in pixels; the drawn factor is
            clamped accordingly, even out of `scale_range`. None: no bounds.
    """

    def __init__(
        self, crop_size: tuple[int, int], scale_range: tuple[float, float], short_side: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        _check_range("scale_range", scale_range)
        if short_side is not None:
            _check_range("short_side", short_side)
        if min(crop_size) < 1:
            raise UserError(f"crop_size={crop_size}: both sides must be at least 1 pixel")
        self.crop_size = crop_size
        self.scale_range = scale_range
        self.short_side = short_side

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draws the scale and the window for one sample; image and mask then share them."""
        height, width = v2.query_size(flat_inputs)
        low, high = self.scale_range
        scale = low + (high - low) * torch.rand(()).item()
        if self.short_side is not None:
            shortest, longest = (bound / min(height, width) for bound in self.short_side)
            scale = min(max(scale, shortest), longest)
        return {
            "rows": _draw_axis(height, scale, self.crop_size[0]),
            "columns": _draw_axis(width, scale, self.crop_size[1]),
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Applies the drawn window to a `tv_tensors.Image` [3, H, W] or `tv_tensors.Mask` [H, W]."""
        rows, columns = params["rows"], params["columns"]
        size = [rows.resized, columns.resized]
        # A slice, not a copy; PIL's memory order (channels last) survives it, which makes the resize twice as fast.
        window = inpt[..., rows.start : rows.start + rows.window, columns.start : columns.start + columns.window]
        fill: list[int]
        if isinstance(inpt, tv_tensors.Mask):
            # v2's own resize takes the upper left neighbor, which shifts a mask against its image by half a pixel.
            window = torch.nn.functional.interpolate(window[None, None], size, mode="nearest-exact")[0]
            fill = [IGNORE_INDEX]
        else:
            window = functional.resize(window, size, antialias=True)
            fill = list(MEAN_COLOR)
        padded = functional.pad(window, self._margins(rows, columns), fill=fill)
        return tv_tensors.wrap(padded.reshape(*inpt.shape[:-2], *self.crop_size), like=inpt)

    def _margins(self, rows: _Axis, columns: _Axis) -> list[int]:
        """Left, top, right and bottom margin."""
        height, width = self.crop_size
        bottom, right = height - rows.offset - rows.resized, width - columns.offset - columns.resized
        return [columns.offset, rows.offset, right, bottom]


def training_transform(
    crop_size: tuple[int, int],
    scale_range: tuple[float, float],
    short_side: tuple[int, int] | None,
    flip: bool,
    color_jitter: float,
) -> v2.Transform:
    """The augmentation of training samples, on uint8 images.

    Args:
        crop_size: See `RandomScaleCrop`.
        scale_range: See `RandomScaleCrop`.
        short_side: See `RandomScaleCrop`.
        flip: Mirror every second sample, left to right.
        color_jitter: Brightness, contrast and saturation are each multiplied by a factor that is uniform in
            1 - color_jitter .. 1 + color_jitter. 0 leaves the colors alone.
    """
    steps: list[v2.Transform] = [RandomScaleCrop(crop_size, scale_range, short_side)]
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    if color_jitter > 0:  # last, because a crop has fewer pixels than most images
        steps.append(v2.ColorJitter(brightness=color_jitter, contrast=color_jitter, saturation=color_jitter))
    return v2.Compose(steps)


def _check_range(name: str, bounds: tuple[float, float]) -> None:
    if not 0 < bounds[0] <= bounds[1]:
        raise UserError(f"{name}={bounds}: expected two positive numbers, the smaller one first")


def _draw_axis(length: int, scale: float, crop: int) -> _Axis:
    """Draws a window of at most crop / scale pixels on an axis of `length` pixels, and its place in the crop."""
    scaled = max(1, round(length * scale))
    resized = min(scaled, crop)
    window = length if scaled <= crop else min(length, max(1, round(crop / scale)))
    return _Axis(_draw(length - window), window, resized, _draw(crop - resized))


def _draw(highest: int) -> int:
    """A uniform integer in 0..highest."""
    return int(torch.randint(highest + 1, ()))
