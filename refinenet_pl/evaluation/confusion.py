"""Exact confusion matrix of a whole split."""

import torch
from torch import Tensor
from torchmetrics import Metric

from refinenet_pl.errors import UserError


def confusion_matrix(prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int | None = 255) -> Tensor:
    """Return the confusion matrix, int64 [num_classes, num_classes]; rows are the target.

    torchmetrics has one too, but its deterministic path allocates pixels x classes^2 numbers: gigabytes per image.

    Args:
        prediction: Class indices of any shape and integer type, 0..num_classes-1. Any value where the target is
            ignored.
        target: Class indices of the same shape, 0..num_classes-1 or `ignore_index`.
        num_classes: Number of classes.
        ignore_index: Target value of pixels that do not count; None counts all pixels.

    Raises:
        UserError: Shapes differ, or a class index is out of range.
    """
    if prediction.shape != target.shape:
        raise UserError(
            f"prediction has shape {tuple(prediction.shape)}, target has {tuple(target.shape)}; expected equal shapes"
        )
    prediction, target = prediction.flatten().long(), target.flatten().long()
    if ignore_index is not None:
        counted = target != ignore_index
        # masked_select is faster than indexing with a mask.
        prediction, target = prediction.masked_select(counted), target.masked_select(counted)
    for name, indices in (("prediction", prediction), ("target", target)):
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < num_classes:
            ignored = f", or {ignore_index} for ignored pixels of the target" if ignore_index is not None else ""
            raise UserError(
                f"class indices of the {name} are {int(indices.min())}..{int(indices.max())}; "
                f"expected 0..{num_classes - 1}{ignored}"
            )
    pairs = target * num_classes + prediction
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


class ConfusionMatrix(Metric):
    """Pixel counts by target class (rows) and predicted class (columns), exact in int64 and summed over devices.

    `metric(prediction, target)` returns the matrix of these pixels alone and adds it to the total. It counts each pixel
    once. `metric.update(prediction, target)` only adds.

    Args:
        num_classes: Number of classes.
        ignore_index: Target value of pixels that do not count; None counts all pixels.
    """

    # With False, a call of the metric runs `update` once; with True it would count each pixel twice.
    full_state_update = False
    higher_is_better = None
    is_differentiable = False
    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = 255) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.add_state("matrix", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count pixels; see `confusion_matrix` for the arguments and errors."""
        # Not in place: matrices that `compute` has returned stay unchanged.
        self.matrix = self.matrix + confusion_matrix(prediction, target, self.num_classes, self.ignore_index)

    def compute(self) -> Tensor:
        """Return the matrix, int64 [num_classes, num_classes]; rows are the target."""
        return self.matrix
