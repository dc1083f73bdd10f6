"""The receptive field of a network: which pixels of the image its central logit depends on, and how much.

The theoretical field has every pixel that can have an influence. The effective field (Luo et al., NIPS 2016) weighs
each pixel by its gradient. It is much smaller: RefineNet's authors add chained residual pooling to "capture background
context from a large image region" (section 3.2), and the effective field shows how large the region is.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

LARGEST = 4096
"""Largest theoretical radius that is looked for, in pixels."""


@dataclass(frozen=True)
class ReceptiveField:
    """The effective field around the central pixel, and the size of the theoretical one.

    Attributes:
        weights: Share of each pixel, float32 [2 r + 1, 2 s + 1]; the central pixel is in the middle. The sum is 1.
        theoretical: Largest distance along an axis, in pixels, at which a pixel can have an influence; infinity for
            the whole image, as with global pooling.
    """

    weights: np.ndarray
    theoretical: float

    def radius(self, share: float) -> float:
        """Return the radius in pixels of the smallest disc around the central pixel that holds a share, 0..1."""
        height, width = self.weights.shape
        rows, columns = np.ogrid[:height, :width]
        distance = np.hypot(rows - height // 2, columns - width // 2).ravel()
        order = np.argsort(distance, kind="stable")
        held = self.weights.ravel().astype(np.float64)[order].cumsum()
        # Rounding can leave the sum of all shares just below 1.
        return float(distance[order][np.searchsorted(held, min(share, held[-1]) * (1 - 1e-6))])


def measure(network: nn.Module, images: Iterable[Tensor]) -> ReceptiveField:
    """Measure the effective field on images, and the theoretical one.

    Args:
        network: Maps images [N, 3, H, W] to logits [N, C, H, W], in evaluation mode.
        images: Normalized images, float [1, 3, H, W], of any sizes.
    """
    return ReceptiveField(effective_field(network, images), theoretical_radius(network))


def effective_field(network: nn.Module, images: Iterable[Tensor]) -> np.ndarray:
    """Return the share of each pixel in the gradient of the central logit, averaged over images.

    The logit is that of the class which the network predicts for the central pixel. A pixel's gradient is the sum of
    the absolute values over its channels.

    Args:
        network: Maps images [N, 3, H, W] to logits [N, C, H, W], in evaluation mode.
        images: Normalized images, float [1, 3, H, W], of any sizes.

    Returns:
        float32 [2 r + 1, 2 s + 1], around the central pixel, as large as the largest image. The sum is 1.
    """
    maps = [_central_gradient(network, image) for image in images]
    # Pixel (h // 2, w // 2) of each map comes to (r, s).
    rows, columns = (max(each.shape[axis] // 2 for each in maps) for axis in (0, 1))
    total = np.zeros((2 * rows + 1, 2 * columns + 1))
    for each in maps:
        top, left = rows - each.shape[0] // 2, columns - each.shape[1] // 2
        total[top : top + each.shape[0], left : left + each.shape[1]] += each / max(each.sum(), 1e-300)
    return (total / max(total.sum(), 1e-300)).astype(np.float32)


def _central_gradient(network: nn.Module, image: Tensor) -> np.ndarray:
    image = image.detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = _logits(network, image)
        central = logits[0, :, logits.shape[2] // 2, logits.shape[3] // 2].max()
        (gradient,) = torch.autograd.grad(central, image)
    return gradient[0].abs().sum(0).double().cpu().numpy()


def theoretical_radius(network: nn.Module, channels: int = 3) -> float:
    """Return the largest distance in pixels, along an axis, at which a pixel can influence the central logit.

    Rows that are further away are set to NaN. NaN passes through convolutions, pooling and sums, so the central logit
    becomes NaN exactly if it depends on one of them.

    Args:
        network: Maps images [N, channels, H, W] to logits [N, C, H, W], in evaluation mode.
        channels: Channels of the images.

    Returns:
        The distance; infinity if it is larger than `LARGEST`, as with global pooling.
    """
    reference = next(network.parameters(), torch.zeros(0))
    size = 64
    strip = reference.new_zeros((1, channels, 2 * size, 64))
    while _depends_beyond(network, strip, size - 1):
        if size >= LARGEST:
            return math.inf
        size *= 2
        strip = reference.new_zeros((1, channels, 2 * size, 64))
    low, high = -1, size - 1  # the logit depends on rows beyond `low`, and on none beyond `high`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _depends_beyond(network, strip, middle) else (low, middle)
    return float(high)


@torch.no_grad()
def _depends_beyond(network: nn.Module, image: Tensor, distance: int) -> bool:
    """Return whether the central logit depends on rows of the image that are further away than a distance."""
    center = image.shape[2] // 2
    rows = (torch.arange(image.shape[2], device=image.device) - center).abs() > distance
    logits = _logits(network, image.masked_fill(rows[:, None], math.nan))
    return bool(logits[0, :, center, image.shape[3] // 2].isnan().any())


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    output = network(images)
    logits: Tensor = output[0] if isinstance(output, tuple) else output
    return logits
