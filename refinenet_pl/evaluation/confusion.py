"""One confusion matrix over a whole split, and the figures that follow from it.

Mean IoU is the Cityscapes convention: IoU = TP / (TP + FP + FN) of each class over all pixels of the split. A class
that neither the truth nor the prediction has (empty union) is left out of the mean; one only predicted counts 0.
"""

import torch
from torch import Tensor
from torchmetrics import Metric

from refinenet_pl.errors import UserError


class ConfusionMatrix(Metric):
    """Counts of pixels by true class (rows) and predicted class (columns), exact in int64 and summed over devices.

    The counting is our own: torchmetrics' deterministic path builds a [pixels x classes^2] mesh, gigabytes an image.

    Args:
        num_classes: Classes 0..num_classes-1.
        ignore_index: True label of pixels that do not count; None if all do.
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False
    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = 255) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.add_state("matrix", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Count pixels.

        Args:
            predicted: Integer labels of any shape, 0..num_classes-1.
            truth: Integer labels of the same shape, 0..num_classes-1 or `ignore_index`.

        Raises:
            UserError: Shapes differ, or a label is out of range.
        """
        if predicted.shape != truth.shape:
            raise UserError(f"prediction is {tuple(predicted.shape)}, truth {tuple(truth.shape)}; expected one shape")
        predicted, truth = predicted.flatten().long(), truth.flatten().long()
        if self.ignore_index is not None:
            counted = truth != self.ignore_index
            predicted, truth = predicted[counted], truth[counted]
        for name, labels in (("predicted", predicted), ("true", truth)):
            if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
                raise UserError(
                    f"{name} labels span {int(labels.min())}..{int(labels.max())}; expected 0..{self.num_classes - 1}"
                    f" (or {self.ignore_index} for void in the truth)"
                )
        pairs = truth * self.num_classes + predicted
        self.matrix += torch.bincount(pairs, minlength=self.num_classes**2).view_as(self.matrix)

    def compute(self) -> Tensor:
        """The matrix, int64 [num_classes, num_classes], rows = truth."""
        return self.matrix


def class_iou(matrix: Tensor) -> Tensor:
    """IoU of each class, float64 [C] in 0..1; NaN where the union is empty."""
    matrix = matrix.double()
    hits = matrix.diagonal()
    return hits / (matrix.sum(0) + matrix.sum(1) - hits)


def mean_iou(matrix: Tensor) -> float:
    """Mean IoU over the classes with a non-empty union; NaN if there is none."""
    return float(class_iou(matrix).nanmean())


def pixel_accuracy(matrix: Tensor) -> float:
    """Share of counted pixels whose class is right; NaN if none was counted."""
    return float(matrix.diagonal().sum().double() / matrix.sum().double())


def mean_accuracy(matrix: Tensor) -> float:
    """Mean over the classes present in the truth of the share of their pixels that is right; NaN if there is none."""
    matrix = matrix.double()
    return float((matrix.diagonal() / matrix.sum(1)).nanmean())
