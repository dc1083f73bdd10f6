"""Quality near object boundaries, which mean IoU hardly measures: Boundary IoU and trimap IoU, summed over a split.

Neither needs a binary mask per class. A window of a mask contains a second value exactly if its minimum differs from
its maximum, and this holds for all classes at once. Values out of range are not checked; `ConfusionMatrix` does that.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from refinenet_pl.evaluation.confusion import confusion_matrix
from refinenet_pl.evaluation.metrics import class_iou


class BoundaryIoU(Metric):
    """Boundary IoU (Cheng et al., CVPR 2021) of each class.

    Only the boundary region of each binary mask counts: its pixels within distance d of another value or of the image
    border. The distance is the larger one of rows and columns (Chebyshev). d is `width` times the image diagonal,
    rounded, at least one pixel. Intersections and unions of the regions are summed over all images.

    The reference code has no ignored pixels. Here the prediction is ignored wherever the target is, before regions are
    found. So ignored pixels bound both masks alike, and a perfect prediction has exactly 1.

    Args:
        num_classes: Number of classes.
        ignore_index: Target value of pixels that do not count; None counts all pixels.
        width: Width of the regions as a fraction of the image diagonal. The reference uses 0.02, and 0.005 on
            Cityscapes.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = 255, width: float = 0.02) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.width = width
        # A confusion matrix with one more index, for pixels that are ignored or in no region.
        shape = (num_classes + 1, num_classes + 1)
        self.add_state("matrix", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count one image, or several images of one size.

        Args:
            prediction: Class indices [..., H, W], 0..num_classes-1.
            target: Class indices of the same shape, 0..num_classes-1 or `ignore_index`.
        """
        if self.ignore_index is not None:
            ignored = target == self.ignore_index
            prediction, target = (mask.masked_fill(ignored, self.num_classes) for mask in (prediction, target))
        self.matrix += confusion_matrix(
            self._boundary_regions(prediction), self._boundary_regions(target), self.num_classes + 1, ignore_index=None
        )

    def compute(self) -> Tensor:
        """Return the Boundary IoU of each class, float64 [num_classes]; NaN where the union is empty."""
        return class_iou(self.matrix)[:-1]

    def _boundary_regions(self, mask: Tensor) -> Tensor:
        """Return a copy of the mask with `num_classes` at pixels in no boundary region."""
        height, width = mask.shape[-2:]
        distance = max(1, round(self.width * math.hypot(height, width)))
        mask = mask.clone()
        if min(height, width) > 2 * distance:  # else every pixel is near the image border
            inner = mask[..., distance : height - distance, distance : width - distance]
            inner.masked_fill_(~mixed_windows(mask, 2 * distance + 1), self.num_classes)
        return mask


class TrimapIoU(Metric):
    """IoU of each class near target boundaries only (Kohli et al., IJCV 2009; Krähenbühl & Koltun, 2011).

    A pixel counts at width w if a pixel with another target value is within w rows and columns. The ignore index is
    such a value, because datasets like VOC mark contours as ignored. The image border is no boundary.

    Args:
        num_classes: Number of classes.
        ignore_index: Target value of pixels that do not count; None counts all pixels.
        widths: In pixels.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    matrices: Tensor

    def __init__(
        self, num_classes: int, ignore_index: int | None = 255, widths: Sequence[int] = (1, 2, 4, 8, 16)
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.widths = tuple(widths)
        shape = (len(self.widths), num_classes, num_classes)
        self.add_state("matrices", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count one image, or several images of one size; see `BoundaryIoU.update` for the arguments."""
        ignored = self.num_classes if self.ignore_index is None else self.ignore_index
        for matrix, width in zip(self.matrices, self.widths, strict=True):
            near = near_edges(target, width)
            matrix += confusion_matrix(prediction, target.masked_fill(~near, ignored), self.num_classes, ignored)

    def compute(self) -> Tensor:
        """Return the IoU, float64 [widths, num_classes]; NaN where the union is empty."""
        return torch.stack([class_iou(matrix) for matrix in self.matrices])


def near_edges(mask: Tensor, width: int) -> Tensor:
    """Return whether a pixel with another value is within `width` rows and columns, booleans [..., H, W]."""
    return mixed_windows(_repeat_edges(mask, width), 2 * width + 1)


def mixed_windows(mask: Tensor, size: int) -> Tensor:
    """Find windows that contain more than one value.

    Args:
        mask: Integers [..., H, W], both sides at least `size`.
        size: Side of the square windows, in pixels.

    Returns:
        Booleans [..., H - size + 1, W - size + 1], one per window within the image.
    """
    lowest = highest = mask
    for axis in (-2, -1):
        lowest = _sliding_extreme(torch.minimum, lowest, size, axis)
        highest = _sliding_extreme(torch.maximum, highest, size, axis)
    return lowest != highest


def _sliding_extreme(extreme: Callable[[Tensor, Tensor], Tensor], values: Tensor, size: int, axis: int) -> Tensor:
    """Return the minimum or maximum of each window along an axis, in about log2(size) steps that double the window."""
    reached = 1
    while reached < size:
        step = min(reached, size - reached)
        count = values.shape[axis] - step
        values = extreme(values.narrow(axis, 0, count), values.narrow(axis, step, count))
        reached += step
    return values


def _repeat_edges(mask: Tensor, width: int) -> Tensor:
    """Pad a mask on all sides by repeating its outermost pixels, which adds no new value to any window."""
    for axis in (-2, -1):
        first, last = mask.narrow(axis, 0, 1), mask.narrow(axis, -1, 1)
        mask = torch.cat([first] * width + [mask] + [last] * width, axis)
    return mask
