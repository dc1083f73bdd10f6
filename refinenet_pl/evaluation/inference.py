"""Predict normalized images at their own size: at once or in windows, at several scales, with flips."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.windows import AxisWindow, WindowLogits, split_axis

See = Callable[[int, WindowLogits], None]


@dataclass(frozen=True)
class Inference:
    """Scales, flips and windows of inference, and the average over them.

    The default is a single view: the whole image, once. Several views (scales, flips) and windows are averaged as
    softmax probabilities: first over the windows of a view that cover a pixel, then over the views.

    Peak memory is one batch of windows plus one float32 [N, C, H, W] tensor for N images. A single view needs only the
    batch if the network has `forward_logits`. Other networks return logits at the view's size.

    Attributes:
        scales: Factors that the image is resized by. The authors of RefineNet use 0.4, 0.6, 0.8, 1.0, 1.2.
        flip: Also predict the horizontally flipped image at each scale.
        window: Size of the windows, in pixels of the resized image: one number, or height and width. Larger windows
            are cut to the image. None: no windows.
        stride: Distance between windows: one number, or down and across. The last windows end at the image border.
            None: two thirds of the window.
        windows_per_batch: Number of windows of each image per network call.

    Raises:
        UserError: A value is out of range.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: int | tuple[int, int] | None = None
    stride: int | tuple[int, int] | None = None
    windows_per_batch: int = 4

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise UserError(f"inference.scales is {list(self.scales)}; expected one or more positive factors")
        if self.windows_per_batch < 1:
            raise UserError(f"inference.windows_per_batch is {self.windows_per_batch}; expected 1 or more")
        size, stride = self.window_size, self.stride_size
        if size is None and stride is not None:
            raise UserError("inference.stride is set without inference.window; set both, or only the window")
        if size is not None and stride is not None and (stride[0] > size[0] or stride[1] > size[1]):
            raise UserError(
                f"inference.stride is {list(stride)} and inference.window is {list(size)}; expected strides that are "
                "at most the window's size, so that windows cover every pixel"
            )

    @property
    def window_size(self) -> tuple[int, int] | None:
        """Height and width of the windows, or None."""
        return _pair("window", self.window)

    @property
    def stride_size(self) -> tuple[int, int] | None:
        """Distance between windows down and across; None if it follows from the window."""
        return _pair("stride", self.stride)

    @torch.no_grad()
    def predict(self, network: nn.Module, images: Tensor, see: See | None = None) -> Tensor:
        """Return the most probable class of each pixel.

        Args:
            network: Maps images [N, 3, h, w] to logits [N, C, h, w], in evaluation mode, C at most 256. If it has
                `forward_logits`, that is called instead, and the logits are resized here.
            images: Normalized images, float [N, 3, H, W].
            see: Called with the index of an image and the logits of a window, for each window.

        Returns:
            Class indices, uint8 [N, H, W].
        """
        if self.flip or len(self.scales) > 1 or self._windows_overlap(images):
            return torch.stack([most_probable(scores) for scores in self.probabilities(network, images, see)])
        # Each pixel has one prediction: no average, and no softmax, which does not change the most probable class.
        classes = torch.empty(len(images), *images.shape[-2:], dtype=torch.uint8, device=images.device)
        for batch in self._window_batches(network, images, see):
            for index, window in batch:
                covered = classes[index, window.rows.pixels, window.columns.pixels]
                for strip_rows, strip in window.strips():
                    covered[strip_rows] = most_probable(strip)
        return classes

    @torch.no_grad()
    def probabilities(self, network: nn.Module, images: Tensor, see: See | None = None) -> Tensor:
        """Return the averaged softmax probabilities, float32 [N, C, H, W]; see `predict` for the arguments."""
        views = len(self.scales) * (2 if self.flip else 1)
        total = torch.empty(0)
        for batch in self._window_batches(network, images, see):
            for index, window in batch:
                if total.numel() == 0:
                    total = torch.zeros(len(images), len(window.logits), *images.shape[-2:], device=images.device)
                window.add_to(total[index], views)
            del batch, window  # free the logits before the next batch
        return total

    def _window_batches(
        self, network: nn.Module, images: Tensor, see: See | None
    ) -> Iterator[list[tuple[int, WindowLogits]]]:
        """Yield the windows of one network call at a time: the index of the image, and its logits."""
        count = len(images)
        for scale, flipped in product(self.scales, (False, True) if self.flip else (False,)):
            view = resize(images, scale)
            windows = list(product(self._axis_windows(0, scale, images), self._axis_windows(1, scale, images)))
            for first in range(0, len(windows), self.windows_per_batch):
                batch = windows[first : first + self.windows_per_batch]
                inputs = torch.cat([view[:, :, rows.window, columns.window] for rows, columns in batch])
                logits = (
                    compute_logits(network, inputs.flip(-1)).flip(-1) if flipped else compute_logits(network, inputs)
                )
                found = [
                    (index, WindowLogits(logits[position * count + index], rows, columns))
                    for position, (rows, columns) in enumerate(batch)
                    for index in range(count)
                ]
                if see is not None:
                    for index, window in found:
                        see(index, window)
                yield found
                del logits, found  # free them before the next batch

    def _windows_overlap(self, images: Tensor) -> bool:
        """Whether two windows of the first scale cover one pixel."""
        return any(
            sum(window.pixels.stop - window.pixels.start for window in self._axis_windows(axis, self.scales[0], images))
            > images.shape[2 + axis]
            for axis in (0, 1)
        )

    def _axis_windows(self, axis: int, scale: float, images: Tensor) -> list[AxisWindow]:
        length = images.shape[2 + axis]
        resized = resized_length(length, scale)
        side = self.window_size[axis] if self.window_size else resized
        stride = self.stride_size[axis] if self.stride_size else -(-2 * side // 3)
        return split_axis(resized, length, side, stride, images.device)


def _pair(name: str, value: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Return one number twice, and a pair as it is; raise UserError for other values."""
    if value is None:
        return None
    pair = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, list | tuple) else ()
    if len(pair) != 2 or not all(type(side) is int and side >= 1 for side in pair):  # a bool is an int too
        raise UserError(
            f"inference.{name} is {value!r}; expected one positive number of pixels or a pair like [512, 1024]"
        )
    return pair


def most_probable(scores: Tensor) -> Tensor:
    """Return the class with the highest score at each pixel, the first of equal ones: uint8 [H, W] from [C, H, W]."""
    return scores.max(dim=0).indices.to(torch.uint8)  # several times as fast as argmax on CPUs


def resized_length(length: int, scale: float) -> int:
    """Return the length of a side in pixels after a resize by a factor."""
    return length if scale == 1 else max(1, round(length * scale))


def resize(images: Tensor, scale: float) -> Tensor:
    """Resize images [N, 3, H, W] by a factor, in the same way as training does."""
    if scale == 1:
        return images
    size = [resized_length(side, scale) for side in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=scale < 1)


def compute_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Return logits [N, C, h, w] of normalized images [N, 3, H, W].

    They have the resolution of `network.forward_logits` if it exists, else that of the images.
    """
    if hasattr(network, "forward_logits"):
        return network.forward_logits(images)  # type: ignore[operator]
    return full_resolution_logits(network, images)


def full_resolution_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Return logits [N, C, H, W] of normalized images [N, 3, H, W] of any size.

    Some networks of segmentation_models_pytorch accept only multiples of their stride. Their images are padded at the
    right and bottom with the mean color (0), and the logits are cropped.
    """
    if not getattr(network, "requires_divisible_input_shape", False):
        return network(images)
    height, width = images.shape[-2:]
    stride: int = network.encoder.output_stride  # type: ignore[union-attr, assignment]
    padded = F.pad(images, (0, -width % stride, 0, -height % stride))
    return network(padded)[..., :height, :width]
