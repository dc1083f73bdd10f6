"""One confusion matrix over a whole split, counted exactly."""

import torch
from torch import Tensor
from torchmetrics import Metric

from refinenet_pl.errors import UserError


def confusion_matrix(predicted: Tensor, truth: Tensor, num_classes: int, ignore_index: int | None = 255) -> Tensor:
    """The confusion matrix, int64 [num_classes, num_classes], rows = truth.

    The counting is our own: torchmetrics' deterministic path builds a [pixels x classes^2] mesh, gigabytes an image.

    Args:
        predicted: Integer labels of any shape, 0..num_classes-1.
        truth: Integer labels of the same shape, 0..num_classes-1 or `ignore_index`.
        num_classes: Classes 0..num_classes-1.
        ignore_index: True label of pixels that do not count; None if all do.

    Raises:
        UserError: Shapes differ, or a label is out of range.
    """
    if predicted.shape != truth.shape:
        raise UserError(f"prediction is {tuple(predicted.shape)}, truth {tuple(truth.shape)}; expected one shape")
    predicted, truth = predicted.flatten().long(), truth.flatten().long()
    if ignore_index is not None:
        counted = truth != ignore_index
        predicted, truth = predicted.masked_select(counted), truth.masked_select(counted)  # faster than by index
    for name, labels in (("predicted", predicted), ("true", truth)):
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise UserError(
                f"{name} labels span {int(labels.min())}..{int(labels.max())}; expected 0..{num_classes - 1}"
                f" (or {ignore_index} for void in the truth)"
            )
    pairs = truth * num_classes + predicted
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


class ConfusionMatrix(Metric):
    """Counts of pixels by true class (rows) and predicted class (columns), exact in int64 and summed over devices.

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
        """Count pixels; arguments and errors are those of `confusion_matrix`."""
        self.matrix += confusion_matrix(predicted, truth, self.num_classes, self.ignore_index)

    def compute(self) -> Tensor:
        """The matrix, int64 [num_classes, num_classes], rows = truth."""
        return self.matrix
