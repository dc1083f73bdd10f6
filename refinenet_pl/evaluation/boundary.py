"""Quality at the edges of things, where mean IoU hardly looks: Boundary IoU and trimap IoU, summed over a split.

Neither needs a mask for each class: a window of a label map holds a second label if and only if its lowest label is not
its highest, and that holds for all classes at once. Labels that are no class are left to `ConfusionMatrix` to refuse.
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

    Of every mask only the boundary region counts: its pixels within d of a pixel of another label or of the image's
    outside, where distances are the larger of rows and columns (Chebyshev) and d = `width` times the image's diagonal,
    rounded, at least one pixel. Intersections and unions of these regions are summed over all images.

    The reference code knows no void. Here the prediction is set to void wherever the truth is void, before regions are
    found: void borders on both masks alike, and a perfect prediction scores exactly 1.

    Args:
        num_classes: Classes 0..num_classes-1.
        ignore_index: True label of pixels that do not count; None if all do.
        width: The regions' width as a share of the image's diagonal. The reference has 2 %, and 0.5 %
            on Cityscapes.
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
        # A confusion matrix with one label more, for the pixels that are void or in no region.
        shape = (num_classes + 1, num_classes + 1)
        self.add_state("matrix", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Count one image, or several of one size.

        Args:
            predicted: Integer labels [..., H, W], 0..num_classes-1.
            truth: Integer labels of the same shape, 0..num_classes-1 or `ignore_index`.
        """
        if self.ignore_index is not None:
            void = truth == self.ignore_index
            predicted, truth = (labels.masked_fill(void, self.num_classes) for labels in (predicted, truth))
        self.matrix += confusion_matrix(
            self._regions(predicted), self._regions(truth), self.num_classes + 1, ignore_index=None
        )

    def compute(self) -> Tensor:
        """Boundary IoU of each class, float64 [num_classes]; NaN where the union is empty."""
        return class_iou(self.matrix)[:-1]

    def _regions(self, labels: Tensor) -> Tensor:
        """The labels, with `num_classes` in place of those in no region."""
        height, width = labels.shape[-2:]
        reach = max(1, round(self.width * math.hypot(height, width)))
        labels = labels.clone()
        if min(height, width) > 2 * reach:  # else every window leaves the image
            inner = labels[..., reach : height - reach, reach : width - reach]
            inner.masked_fill_(~mixed_windows(labels, 2 * reach + 1), self.num_classes)
        return labels


class TrimapIoU(Metric):
    """IoU of each class over only the pixels near a true edge (Kohli et al., IJCV 2009; Krähenbühl & Koltun, 2011).

    A pixel counts at width w if one of another true label lies within w rows and columns of it. Void is such a label,
    since datasets like VOC draw contours as void; the image's border is not.

    Args:
        num_classes: Classes 0..num_classes-1.
        ignore_index: True label of pixels that do not count; None if all do.
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

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Count one image, or several of one size, as `BoundaryIoU.update` does."""
        for matrix, width in zip(self.matrices, self.widths, strict=True):
            near = mixed_windows(_repeat_edges(truth, width), 2 * width + 1)
            matrix += confusion_matrix(
                predicted.masked_select(near), truth.masked_select(near), self.num_classes, self.ignore_index
            )

    def compute(self) -> Tensor:
        """IoU, float64 [widths, num_classes]; NaN where the union is empty."""
        return torch.stack([class_iou(matrix) for matrix in self.matrices])


def mixed_windows(labels: Tensor, size: int) -> Tensor:
    """Whether each window holds more than one label.

    Args:
        labels: Integers [..., H, W], both sides at least `size`.
        size: Side of the square windows, in pixels.

    Returns:
        Booleans [..., H - size + 1, W - size + 1], one for each window that lies within the image.
    """
    lowest = highest = labels
    for axis in (-2, -1):
        lowest = _slide(torch.minimum, lowest, size, axis)
        highest = _slide(torch.maximum, highest, size, axis)
    return lowest != highest


def _slide(extreme: Callable[[Tensor, Tensor], Tensor], values: Tensor, size: int, axis: int) -> Tensor:
    """The extreme of every window of `size` along an axis, in about log2(size) steps that each double the window."""
    reached = 1
    while reached < size:
        step = min(reached, size - reached)
        count = values.shape[axis] - step
        values = extreme(values.narrow(axis, 0, count), values.narrow(axis, step, count))
        reached += step
    return values


def _repeat_edges(labels: Tensor, width: int) -> Tensor:
    """Labels with their outermost pixels repeated outwards, which brings no new label into any window."""
    for axis in (-2, -1):
        size = labels.shape[axis]
        indices = torch.arange(-width, size + width, device=labels.device).clamp(0, size - 1)
        labels = labels.index_select(axis, indices)
    return labels
