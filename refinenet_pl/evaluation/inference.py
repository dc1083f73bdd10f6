"""Inference on one image: on the whole image or in windows, at several scales, with and without a flip."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.windows import AxisWindow, WindowLogits, split_axis


@dataclass(frozen=True)
class Inference:
    """How a network sees an image, and how the predictions of several views are combined.

    By default the network sees the whole image once. With several views (scales, flips, windows), softmax
    probabilities are averaged: first over the windows that hold a pixel, then over scales and flips.

    Peak memory is one batch of windows plus one float32 tensor [C, H, W] of probabilities. A single full-image pass
    needs only the batch, if the network has `forward_logits`; other networks give logits at the size of the view.

    Attributes:
        scales: Factors that the image is resized by. The authors of RefineNet use 0.4, 0.6, 0.8, 1.0 and 1.2.
        flip: Also predict the horizontally flipped image at each scale.
        window: Height and width of the windows, in pixels of the resized image; one number for squares. A window is at
            most as large as the resized image. None takes the whole image.
        stride: Distance from one window to the next, down and across; one number for both. The last windows end at the
            image's border. None takes two thirds of the window.
        windows_per_batch: Number of windows per batch.

    Raises:
        UserError: A value is out of range, or a stride would leave pixels out.
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
        if self.window is None and self.stride is not None:
            raise UserError("inference.stride is set without inference.window; set both, or only the window")
        window, stride = self.window_size, self.window_stride
        if window and stride and not all(step <= side for step, side in zip(stride, window, strict=True)):
            raise UserError(
                f"inference.stride is {list(stride)} and inference.window {list(window)}; expected strides up to the "
                "window's sides, so that no pixel is left out"
            )

    @property
    def window_size(self) -> tuple[int, int] | None:
        """Height and width of the windows; None for whole images."""
        return None if self.window is None else _pair("window", self.window)

    @property
    def window_stride(self) -> tuple[int, int] | None:
        """Distance from one window to the next, down and across; None for two thirds of the window."""
        return None if self.stride is None else _pair("stride", self.stride)

    @torch.no_grad()
    def predict(self, network: nn.Module, image: Tensor) -> Tensor:
        """Predict the class index of each pixel.

        Args:
            network: Maps images [N, 3, h, w] to logits [N, C, h, w], C at most 256; in evaluation mode. If the network
                has `forward_logits`, its logits are used and upsampled here.
            image: The normalized image, float [3, H, W].

        Returns:
            uint8 [H, W].
        """
        if self.window is not None or self.flip or len(self.scales) > 1:
            return self.probabilities(network, image).argmax(dim=0).to(torch.uint8)
        ((logits, ((rows, columns),)),) = self._batches(network, image)
        # For a single view the argmax of the logits suffices: a softmax keeps their order.
        strips = WindowLogits(logits[0], rows, columns).upsampled_strips()
        return torch.cat([strip.argmax(dim=0).to(torch.uint8) for _, strip in strips])

    @torch.no_grad()
    def probabilities(self, network: nn.Module, image: Tensor) -> Tensor:
        """Compute the averaged softmax probabilities; arguments as in `predict`.

        Returns:
            float32 [C, H, W]; sums to 1 over the classes.
        """
        views = len(self.scales) * (2 if self.flip else 1)
        total = torch.empty(0)
        for logits, windows in self._batches(network, image):
            if total.numel() == 0:
                total = torch.zeros(logits.shape[1], *image.shape[-2:], device=image.device)
            for index, (rows, columns) in enumerate(windows):
                WindowLogits(logits[index], rows, columns).add_probabilities(total, views)
            del logits  # before the next batch is computed
        return total

    def _batches(
        self, network: nn.Module, image: Tensor
    ) -> Iterator[tuple[Tensor, list[tuple[AxisWindow, AxisWindow]]]]:
        """Yield batches: the logits [N, C, h, w] of N windows, and each window's rows and columns."""
        for scale, flipped in product(self.scales, (False, True) if self.flip else (False,)):
            view = resize(image, scale)
            windows = list(product(self._axis_windows(0, view, image), self._axis_windows(1, view, image)))
            for first in range(0, len(windows), self.windows_per_batch):
                batch = windows[first : first + self.windows_per_batch]
                crops = torch.stack([view[:, rows.window, columns.window] for rows, columns in batch])
                yield (
                    compute_logits(network, crops.flip(-1)).flip(-1) if flipped else compute_logits(network, crops),
                    batch,
                )

    def _axis_windows(self, axis: int, view: Tensor, image: Tensor) -> list[AxisWindow]:
        """Split one axis of a view (0: rows, 1: columns) into windows."""
        resized = view.shape[1 + axis]
        side = self.window_size[axis] if self.window_size else resized
        stride = self.window_stride[axis] if self.window_stride else -(-2 * side // 3)
        return split_axis(resized, image.shape[1 + axis], side, stride, image.device)


def _pair(name: str, value: object) -> tuple[int, int]:
    """Return one number or a pair as a pair; raises UserError for anything else."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in pair):
        raise UserError(f"inference.{name} is {value!r}; expected one integer, 1 or more, or two: [height, width]")
    return pair[0], pair[1]


def resize(image: Tensor, scale: float) -> Tensor:
    """Resize an image [3, H, W] by a factor, as training does."""
    if scale == 1:
        return image
    size = [max(1, round(side * scale)) for side in image.shape[-2:]]
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=scale < 1)[0]


def compute_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Compute logits [N, C, h, w] of normalized images [N, 3, H, W].

    h and w are the resolution of `forward_logits` if the network has it, else H and W.
    """
    forward_logits = getattr(network, "forward_logits", None)
    return full_resolution_logits(network, images) if forward_logits is None else forward_logits(images)


def full_resolution_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Compute logits [N, C, H, W] of normalized images [N, 3, H, W] of any size.

    Some networks of segmentation_models_pytorch take only multiples of their stride. For these, images are padded at
    the right and at the bottom with the mean color (0), and the logits of the padding are cropped away.
    """
    if not getattr(network, "requires_divisible_input_shape", False):
        return network(images)
    height, width = images.shape[-2:]
    stride: int = network.encoder.output_stride  # type: ignore[union-attr, assignment]
    padded = F.pad(images, (0, -width % stride, 0, -height % stride))
    return network(padded)[..., :height, :width]
