"""Boundary IoU and trimap IoU: segmentation quality near edges, to which mean IoU hardly responds.

Neither metric builds a mask per class. A window of class indices holds a second value if and only if its minimum
differs from its maximum; this covers all classes at once. `ConfusionMatrix` refuses class indices out of range.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from refinenet_pl.evaluation.confusion import confusion_matrix
from refinenet_pl.evaluation.metrics import class_iou


class BoundaryIoU(Metric):
    """Boundary IoU of each class (Cheng et al., CVPR 2021), summed over a split.

    Only the boundary region of each mask counts: its pixels within d of another class or of the image's border.
    Distances are Chebyshev (the larger of rows and columns); d is `width` times the image's diagonal, rounded, and at
    least 1. Intersections and unions of these regions are summed over all images.

    The reference code knows no ignored pixels. Here the prediction is ignored wherever the target is, before regions
    are found. So ignored pixels bound both masks alike, and a perfect prediction gives exactly 1.

    Args:
        num_classes: Number of classes.
        ignore_index: Target value of ignored pixels. None ignores none.
        width: Width of the regions as a fraction of the image's diagonal. The reference uses 0.02, and 0.005 on
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
        # One extra class holds the pixels that are ignored or outside every boundary region.
        shape = (num_classes + 1, num_classes + 1)
        self.add_state("matrix", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count one image, or several images of one size.

        Args:
            prediction: Class indices 0..num_classes-1, integers [..., H, W].
            target: Class indices 0..num_classes-1 or `ignore_index`, integers of the same shape.
        """
        if self.ignore_index is not None:
            is_ignored = target == self.ignore_index
            prediction, target = (mask.masked_fill(is_ignored, self.num_classes) for mask in (prediction, target))
        self.matrix += confusion_matrix(
            self._boundary_regions(prediction), self._boundary_regions(target), self.num_classes + 1, ignore_index=None
        )

    def compute(self) -> Tensor:
        """Return the boundary IoU of each class, float64 [num_classes]; NaN where the union is empty."""
        return class_iou(self.matrix)[:-1]

    def _boundary_regions(self, mask: Tensor) -> Tensor:
        """Copy a mask and set the pixels outside every boundary region to `num_classes`."""
        height, width = mask.shape[-2:]
        distance = max(1, round(self.width * math.hypot(height, width)))
        regions = mask.clone()
        if min(height, width) > 2 * distance:  # else every pixel is within `distance` of the border
            inner = regions[..., distance : height - distance, distance : width - distance]
            inner.masked_fill_(~mixed_windows(mask, 2 * distance + 1), self.num_classes)
        return regions


class TrimapIoU(Metric):
    """IoU of each class near target edges (Kohli et al., IJCV 2009; Krähenbühl & Koltun, 2011), summed over a split.

    At width w, only pixels count that have another target value within w rows and columns. Ignored pixels are such
    another value, because datasets like VOC draw contours as ignored pixels. The image's border is not.

    Args:
        num_classes: Number of classes.
        ignore_index: Target value of ignored pixels. None ignores none.
        widths: Widths in pixels.
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
        """Count one image, or several images of one size; arguments as in `BoundaryIoU.update`."""
        for matrix, width in zip(self.matrices, self.widths, strict=True):
            is_near_edge = mixed_windows(_repeat_edges(target, width), 2 * width + 1)
            matrix += confusion_matrix(
                prediction.masked_select(is_near_edge),
                target.masked_select(is_near_edge),
                self.num_classes,
                self.ignore_index,
            )

    def compute(self) -> Tensor:
        """Return the IoU at each width, float64 [widths, num_classes]; NaN where the union is empty."""
        return torch.stack([class_iou(matrix) for matrix in self.matrices])


def mixed_windows(mask: Tensor, size: int) -> Tensor:
    """Find the windows that hold more than one value.

    Args:
        mask: Integers [..., H, W], both sides at least `size`.
        size: Side of the square windows, in pixels.

    Returns:
        bool [..., H - size + 1, W - size + 1], one per window that lies within the image.
    """
    lowest = highest = mask
    for axis in (-2, -1):
        lowest = _sliding_extreme(torch.minimum, lowest, size, axis)
        highest = _sliding_extreme(torch.maximum, highest, size, axis)
    return lowest != highest


def _sliding_extreme(extreme: Callable[[Tensor, Tensor], Tensor], values: Tensor, size: int, axis: int) -> Tensor:
    """Compute the minimum or maximum of every window along an axis.

    Each step doubles the window, so that about log2(size) steps are needed.
    """
    reached = 1
    while reached < size:
        step = min(reached, size - reached)
        count = values.shape[axis] - step
        values = extreme(values.narrow(axis, 0, count), values.narrow(axis, step, count))
        reached += step
    return values


def _repeat_edges(mask: Tensor, width: int) -> Tensor:
    """Pad a mask by repeating its outermost pixels, which brings no new value into any window."""
    for axis in (-2, -1):
        size = mask.shape[axis]
        indices = torch.arange(-width, size + width, device=mask.device).clamp(0, size - 1)
        mask = mask.index_select(axis, indices)
    return mask
