"""The loss of a validation, from the logits that the predictions are made of."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.evaluation.windows import WindowLogits


class ValidationLoss(Metric):
    """The mean of a loss, and of its terms, over images and windows, weighted by their labeled pixels.

    Each image, or window of an image, is a batch of its own, so that the mean does not depend on which images share a
    step. For cross-entropy without class weights, it is the mean over all labeled pixels of the split.

    Args:
        resolution: "label" resizes the logits to the target, "logits" the target to the logits.
    """

    full_state_update = False
    higher_is_better = False
    is_differentiable = False
    sums: Tensor
    pixels: Tensor

    def __init__(self, resolution: str) -> None:
        super().__init__()
        self.resolution = resolution
        self.names: list[str] = []
        self.add_state("sums", torch.zeros(0), dist_reduce_fx="sum")
        self.add_state("pixels", torch.zeros(()), dist_reduce_fx="sum")

    def watch(self, loss: nn.Module, samples: Sequence[dict[str, Any]]) -> Callable[[int, WindowLogits], None]:
        """Return a function that counts the logits of a window of the sample with an index."""
        return lambda index, window: self.update(loss, window, samples[index]["mask"])

    def update(self, loss: nn.Module, window: WindowLogits, mask: Tensor) -> None:
        """Count a window.

        Args:
            loss: Maps logits [1, C, h, w] and a target [1, h, w] to a scalar.
            window: The logits.
            mask: The class indices of the whole image, uint8 [H, W].
        """
        target = mask[window.rows.pixels, window.columns.pixels].long()[None]
        if target.numel() == 0:
            return
        if self.resolution == "logits":
            logits = window.logits
            target = resize_target(target, logits.shape[-2:])
        else:
            logits = window.resized()
        with torch.random.fork_rng([logits.device] if logits.is_cuda else []):  # a loss may draw random numbers
            value = loss(logits[None], target)
        values = {"loss": value, **{f"loss/{name}": term for name, term in terms(loss).items()}}
        self.names = [*values]
        pixels = (target != IGNORE_INDEX).sum()
        total = torch.stack([value.detach().float() for value in values.values()]) * pixels
        self.sums = total if self.sums.numel() == 0 else self.sums + total
        self.pixels = self.pixels + pixels

    def compute(self) -> dict[str, Tensor]:
        """Return the means by name: "loss", and "loss/NAME" of each term. They are NaN without labeled pixels."""
        return dict(zip(self.names, self.sums / self.pixels, strict=True))


def terms(loss: nn.Module) -> dict[str, Tensor]:
    """Return the terms of the last value of a loss by name, which sum to it; empty for a loss without terms."""
    return getattr(loss, "terms", {})


def resize_target(target: Tensor, size: torch.Size) -> Tensor:
    """Resize a target [N, H, W] to another size, taking the class index under each new pixel's center."""
    return F.interpolate(target[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()
