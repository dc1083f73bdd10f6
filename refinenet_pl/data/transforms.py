"""Random scaling, cropping, flipping and color jitter of an image together with its mask."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from refinenet_pl.data.classes import IGNORE_INDEX, Color
from refinenet_pl.errors import UserError
from refinenet_pl.text import join

IMAGENET_MEAN_COLOR: Color = (124, 116, 104)
"""ImageNet's mean RGB color, 0..255. Padding of this color is about zero once it is normalized."""


class _AxisCrop(NamedTuple):
    """The crop along one axis: pixels start..start+window are resized to `resized` pixels and placed at `offset`."""

    start: int
    window: int
    resized: int
    offset: int


class RandomScaleCrop(v2.Transform):
    """Scales an image and its mask by a random factor and takes a random crop of fixed size.

    The window is cut out before it is resized, so that only the pixels of the crop are computed. If the scaled image
    is smaller than the crop, it is placed at random in it; `pad_color` fills the rest of the image, and IGNORE_INDEX
    the rest of the mask.

    Args:
        crop_size: Height and width of the crop in pixels; one number for both.
        scale_range: Lowest and highest scale factor; the factor is uniform between them.
        short_side: Lowest and highest length of the scaled image's shorter side, in pixels. They clamp the drawn
            factor, even to a value outside `scale_range`. None: no bounds.
        pad_color: RGB color of the padding, 0..255. None: ImageNet's mean color, (124, 116, 104).

    Raises:
        UserError: A range is empty or not positive, the crop is empty, or the color is not in 0..255.
    """

    def __init__(
        self,
        crop_size: int | tuple[int, int],
        scale_range: tuple[float, float],
        short_side: tuple[int, int] | None = None,
        pad_color: Color | None = None,
    ) -> None:
        super().__init__()
        _check_range("scale_range", scale_range)
        if short_side is not None:
            _check_range("short_side", short_side)
        self.crop_size = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size
        if len(self.crop_size) != 2 or min(self.crop_size) < 1:
            raise UserError(f"crop_size={crop_size}: expected one number or height and width, each at least 1 pixel")
        self.scale_range = scale_range
        self.short_side = short_side
        self.pad_color = IMAGENET_MEAN_COLOR if pad_color is None else pad_color
        if len(self.pad_color) != 3 or not all(0 <= value <= 255 for value in self.pad_color):
            raise UserError(f"pad_color={pad_color}: expected red, green and blue, each 0..255")

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the scale and the window of one sample, which image and mask share."""
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
        """Apply the drawn window to a `tv_tensors.Image` [3, H, W] or a `tv_tensors.Mask` [H, W]."""
        rows, columns = params["rows"], params["columns"]
        size = [rows.resized, columns.resized]
        # A slice, not a copy: it keeps PIL's memory order (channels last), which makes the resize twice as fast.
        window = inpt[..., rows.start : rows.start + rows.window, columns.start : columns.start + columns.window]
        fill: int | list[int]
        if isinstance(inpt, tv_tensors.Mask):
            window = tv_tensors.Mask(resize_mask(window, rows.resized, columns.resized))
            fill = IGNORE_INDEX
        else:
            window = functional.resize(window, size, antialias=True)
            fill = list(self.pad_color)
        margins = self._margins(rows, columns)
        if any(margins):
            window = functional.pad(window, margins, fill=fill)
        return tv_tensors.wrap(window, like=inpt)

    def _margins(self, rows: _AxisCrop, columns: _AxisCrop) -> list[int]:
        """Left, top, right and bottom margin."""
        height, width = self.crop_size
        bottom, right = height - rows.offset - rows.resized, width - columns.offset - columns.resized
        return [columns.offset, rows.offset, right, bottom]


class OwnTransforms(v2.Transform):
    """Applies transforms that a configuration names, in order.

    Pixels that they fill, such as the corners of a rotated image, become ignored in the mask: it is shifted by one
    meanwhile, so that torchvision's default fill of 0 is no class.

    Args:
        transforms: Transforms of torchvision.transforms.v2, or own subclasses of `v2.Transform`.
    """

    def __init__(self, transforms: Sequence[v2.Transform]) -> None:
        super().__init__()
        self.transforms = torch.nn.ModuleList(transforms)

    def forward(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Transform a sample.

        Raises:
            UserError: The result is not a uint8 image [3, h, w] with a mask [h, w] of the same size.
        """
        names = join(type(transform).__name__ for transform in self.transforms)
        # 8 bits wrap around: IGNORE_INDEX becomes 0, and 0 becomes IGNORE_INDEX again.
        mask = tv_tensors.wrap(sample["mask"] + 1, like=sample["mask"])
        result = {**sample, "mask": mask}
        for transform in self.transforms:
            result = transform(result)
        image, mask = result["image"], result["mask"]
        good = isinstance(image, torch.Tensor) and isinstance(mask, torch.Tensor)
        if not good or image.dtype != torch.uint8 or image.shape != (3, *mask.shape) or mask.dtype != torch.uint8:
            found = f"{image.dtype} {[*image.shape]}, mask {mask.dtype} {[*mask.shape]}" if good else type(image)
            raise UserError(
                f"data.transforms: {names} gave the image {found}; expected a uint8 image [3, h, w] and a uint8 mask "
                "[h, w]. The network normalizes images itself."
            )
        return {**result, "mask": tv_tensors.wrap(mask - 1, like=mask)}


def training_transform(
    crop_size: int | tuple[int, int],
    scale_range: tuple[float, float],
    short_side: tuple[int, int] | None,
    flip: bool,
    color_jitter: float,
    pad_color: Color | None = None,
    transforms: Sequence[v2.Transform] = (),
) -> v2.Transform:
    """Return the augmentation of training samples. It takes and returns uint8 images.

    Args:
        crop_size: See `RandomScaleCrop`.
        scale_range: See `RandomScaleCrop`.
        short_side: See `RandomScaleCrop`.
        flip: Flip half of the samples left to right.
        color_jitter: Brightness, contrast and saturation are each multiplied by a factor that is uniform in
            1 - color_jitter .. 1 + color_jitter. 0 leaves the colors unchanged.
        pad_color: See `RandomScaleCrop`.
        transforms: Applied last, in order; see `OwnTransforms`.
    """
    steps: list[v2.Transform] = [RandomScaleCrop(crop_size, scale_range, short_side, pad_color)]
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    if color_jitter > 0:  # last, because a crop has fewer pixels than most images
        steps.append(v2.ColorJitter(brightness=color_jitter, contrast=color_jitter, saturation=color_jitter))
    if transforms:
        steps.append(OwnTransforms(transforms))
    return v2.Compose(steps)


def resize_mask(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Resize a mask, uint8 [H, W]: each pixel takes the class under its center.

    This equals `F.interpolate(mode="nearest-exact")`, and is three times as fast. The resize of torchvision's v2 takes
    the upper left neighbor, which shifts a mask against its image by half a pixel.
    """
    rows, columns = (
        ((np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new))
        .astype(np.int64)
        .clip(max=old - 1)
        for old, new in zip(mask.shape, (height, width), strict=True)
    )
    return torch.from_numpy(mask.numpy().take(columns, axis=1).take(rows, axis=0))


def _check_range(name: str, bounds: tuple[float, float]) -> None:
    if not 0 < bounds[0] <= bounds[1]:
        raise UserError(f"{name}={bounds}: expected two positive numbers, the smaller one first")


def _draw_axis(length: int, scale: float, crop: int) -> _AxisCrop:
    """Draw a window of at most crop / scale pixels on an axis of `length` pixels, and its offset in the crop."""
    scaled = max(1, round(length * scale))
    resized = min(scaled, crop)
    window = length if scaled <= crop else min(length, max(1, round(crop / scale)))
    return _AxisCrop(_draw(length - window), window, resized, _draw(crop - resized))


def _draw(highest: int) -> int:
    """Return a uniform integer in 0..highest."""
    return int(torch.randint(highest + 1, ()))
