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
    # Pixels stay in small integer types: the time is that of moving them. Row 0 counts the ignored pixels, and the last
    # column predictions that are no class.
    rows, columns = _rows(target.flatten(), ignore_index), prediction.flatten().clamp(max=num_classes)
    if columns.dtype.is_signed:
        columns = columns.masked_fill(columns < 0, num_classes)
    width = num_classes + 1
    if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) <= num_classes:
        raise _out_of_range("target", target, target, num_classes, ignore_index)
    pairs = rows.to(torch.int16 if width**2 < 2**15 else torch.int32) * width + columns
    counts = torch.bincount(pairs, minlength=width**2).view(width, width)[1:]
    if counts[:, num_classes].any():
        raise _out_of_range("prediction", prediction, target, num_classes, ignore_index)
    return counts[:, :num_classes].contiguous()


def _rows(target: Tensor, ignore_index: int | None) -> Tensor:
    """Return the target's class indices plus one, 0 for ignored pixels, and -1 for other negative values."""
    if target.dtype == torch.uint8 and ignore_index == 255:
        return target + 1  # 255 + 1 is 0 in a byte
    rows = (target.long() + 1).masked_fill(target < 0, -1)
    return rows if ignore_index is None else rows.masked_fill(target == ignore_index, 0)


def _out_of_range(name: str, indices: Tensor, target: Tensor, num_classes: int, ignore_index: int | None) -> UserError:
    counted = indices if ignore_index is None else indices[target != ignore_index]
    ignored = f", or {ignore_index} for ignored pixels of the target" if ignore_index is not None else ""
    return UserError(
        f"class indices of the {name} are {int(counted.min())}..{int(counted.max())}; "
        f"expected 0..{num_classes - 1}{ignored}"
    )


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
