"""From a normalized image to labels at its own size: whole or by windows, at several scales, mirrored."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.windows import AxisWindow, Patch, split_axis


@dataclass(frozen=True)
class Inference:
    """How an image is shown to a network, and how what it says of several views becomes one answer.

    The default shows the whole image once. Of several views (scales, mirror images, windows) the softmax scores are
    averaged: over the windows of a view that hold a pixel, then over the views.

    Beside one batch of windows this never needs more memory than one float32 tensor [C, H, W], and not even that for a
    single view by a network that has `forward_logits`. (A network that has not gives logits of its view's size.)

    Attributes:
        scales: The image is resized by each of these factors. The authors of RefineNet: 0.4, 0.6, 0.8, 1.0, 1.2.
        flip: Show the mirror image of each as well.
        window: Height and width of the windows that a view is shown in, in pixels of the resized image; at most the
            whole of it. None: no windows.
        stride: From one window to the next, down and across; the last windows end with the image. None: two thirds of
            the window.
        windows_per_batch: How many windows the network sees at once.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: tuple[int, int] | None = None
    stride: tuple[int, int] | None = None
    windows_per_batch: int = 4

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise UserError(f"inference.scales is {list(self.scales)}; expected one positive factor or more")
        if self.windows_per_batch < 1:
            raise UserError(f"inference.windows_per_batch is {self.windows_per_batch}; expected 1 or more")
        if self.window is None and self.stride is not None:
            raise UserError("inference.stride is given without inference.window; give both, or the window alone")
        if self.window is not None:
            stride = self.stride or self.window
            if not all(1 <= step <= side for step, side in zip(stride, self.window, strict=True)):
                raise UserError(
                    f"inference.window is {list(self.window)} and inference.stride {list(stride)}; expected positive "
                    "sides, and strides from 1 to the window's sides, so that no pixel is left out"
                )

    @torch.no_grad()
    def predict(self, network: nn.Module, image: Tensor) -> Tensor:
        """The best class of each pixel.

        Args:
            network: From images [N, 3, h, w] to logits [N, C, h, w], in evaluation mode, C at most 256. Of one that
                has `forward_logits` these are taken, and brought to the image's resolution here.
            image: Normalized, float [3, H, W].

        Returns:
            uint8 [H, W].
        """
        if self.window or self.flip or len(self.scales) > 1:
            return self.probabilities(network, image).argmax(dim=0).to(torch.uint8)
        ((logits, ((rows, columns),)),) = self._batches(network, image)
        # A softmax would change no pixel's best class.
        strips = Patch(logits[0], rows, columns).strips()
        return torch.cat([strip.argmax(dim=0).to(torch.uint8) for _, strip in strips])

    @torch.no_grad()
    def probabilities(self, network: nn.Module, image: Tensor) -> Tensor:
        """The averaged softmax scores, float32 [C, H, W], which sum to 1 over the classes; arguments as in `labels`."""
        views = len(self.scales) * (2 if self.flip else 1)
        total = torch.empty(0)
        for logits, windows in self._batches(network, image):
            if total.numel() == 0:
                total = torch.zeros(logits.shape[1], *image.shape[-2:], device=image.device)
            for index, (rows, columns) in enumerate(windows):
                Patch(logits[index], rows, columns).add_to(total, views)
            del logits  # before there is another batch
        return total

    def _batches(
        self, network: nn.Module, image: Tensor
    ) -> Iterator[tuple[Tensor, list[tuple[AxisWindow, AxisWindow]]]]:
        """Logits [N, C, h, w] of N windows at a time, and where these lie down and across the image."""
        for scale, mirrored in product(self.scales, (False, True) if self.flip else (False,)):
            view = resize(image, scale)
            windows = list(product(self._cut(0, view, image), self._cut(1, view, image)))
            for first in range(0, len(windows), self.windows_per_batch):
                batch = windows[first : first + self.windows_per_batch]
                shown = torch.stack([view[:, rows.window, columns.window] for rows, columns in batch])
                yield (
                    compute_logits(network, shown.flip(-1)).flip(-1) if mirrored else compute_logits(network, shown),
                    batch,
                )

    def _cut(self, axis: int, view: Tensor, image: Tensor) -> list[AxisWindow]:
        resized = view.shape[1 + axis]
        side = self.window[axis] if self.window else resized
        stride = self.stride[axis] if self.stride else -(-2 * side // 3)
        return split_axis(resized, image.shape[1 + axis], side, stride, image.device)


def resize(image: Tensor, scale: float) -> Tensor:
    """An image [3, H, W] resized by a factor, as training does it."""
    if scale == 1:
        return image
    size = [max(1, round(side * scale)) for side in image.shape[-2:]]
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=scale < 1)[0]


def compute_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Logits [N, C, h, w] of images [N, 3, H, W]: at the network's own resolution if it tells them, else at theirs."""
    return (
        network.forward_logits(images)
        if hasattr(network, "forward_logits")
        else full_resolution_logits(network, images)
    )  # type: ignore[operator]


def full_resolution_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Logits [N, C, H, W] of normalized images [N, 3, H, W] of any size.

    Networks of segmentation_models_pytorch that take only multiples of their stride see the image padded at the right
    and at the bottom with the mean color (0), and what they say of the padding is cut off.
    """
    if not getattr(network, "requires_divisible_input_shape", False):
        return network(images)
    height, width = images.shape[-2:]
    stride: int = network.encoder.output_stride  # type: ignore[union-attr, assignment]
    padded = F.pad(images, (0, -width % stride, 0, -height % stride))
    return network(padded)[..., :height, :width]
