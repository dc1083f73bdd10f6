"""Confusion matrices with exact integer counts."""

import torch
from torch import Tensor
from torchmetrics import Metric

from refinenet_pl.errors import UserError


def confusion_matrix(prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int | None = 255) -> Tensor:
    """Count pixels by target class and predicted class.

    torchmetrics is not used: its deterministic path builds a [pixels x classes^2] mesh, gigabytes per image.

    Args:
        prediction: Class indices 0..num_classes-1, integers of any shape.
        target: Class indices 0..num_classes-1 or `ignore_index`, integers of the same shape.
        num_classes: Number of classes.
        ignore_index: Target value of ignored pixels. None ignores none.

    Returns:
        int64 [num_classes, num_classes], rows = target.

    Raises:
        UserError: Shapes differ, or a class index is out of range.
    """
    if prediction.shape != target.shape:
        raise UserError(
            f"the prediction has shape {tuple(prediction.shape)}, the target {tuple(target.shape)}; "
            "expected the same shape"
        )
    prediction, target = prediction.flatten().long(), target.flatten().long()
    if ignore_index is not None:
        is_counted = target != ignore_index
        # masked_select is faster than indexing.
        prediction, target = prediction.masked_select(is_counted), target.masked_select(is_counted)
    for name, indices in (("prediction", prediction), ("target", target)):
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < num_classes:
            or_ignored = "" if name == "prediction" or ignore_index is None else f" or {ignore_index} (ignored)"
            raise UserError(
                f"the {name} holds class indices {int(indices.min())}..{int(indices.max())}; "
                f"expected 0..{num_classes - 1}{or_ignored}"
            )
    return torch.bincount(target * num_classes + prediction, minlength=num_classes**2).view(num_classes, num_classes)


class ConfusionMatrix(Metric):
    """The confusion matrix of a split: exact int64 counts, summed over devices.

    `metric(prediction, target)` adds one image to the counts and returns the matrix of this image alone. It counts the
    pixels once. `update` only adds.

    Args:
        num_classes: Number of classes.
        ignore_index: Target value of ignored pixels. None ignores none.
    """

    full_state_update = False  # forward then counts each batch once
    higher_is_better = None
    is_differentiable = False
    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = 255) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.add_state("matrix", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count the pixels of one image or batch; arguments and errors as in `confusion_matrix`."""
        self.matrix += confusion_matrix(prediction, target, self.num_classes, self.ignore_index)

    def compute(self) -> Tensor:
        """Return the matrix, int64 [num_classes, num_classes], rows = target."""
        return self.matrix
