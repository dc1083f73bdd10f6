"""Figures of one confusion matrix (integers [C, C], rows = truth): means as floats, classes as float64 [C], in 0..1.

A figure is NaN where it is undefined, never a 0 or a 1 that nobody earned.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

Convention = Literal["cityscapes", "voc", "matlab", "absent_as_zero"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)


def class_iou(matrix: Tensor) -> Tensor:
    """IoU = TP / (TP + FP + FN) of each class; NaN where the union is empty."""
    hits, true, predicted = _counts(matrix)
    return hits / (true + predicted - hits)


def mean_iou(matrix: Tensor, convention: Convention = "cityscapes") -> float:
    """Mean IoU over the classes; the conventions differ on classes that the truth lacks.

    Args:
        matrix: The confusion matrix.
        convention: "cityscapes" (its scripts, mmsegmentation, torchmetrics' macro): classes with an empty union are
            left out, and one only predicted counts 0. "voc" (the VOC devkit): the plain mean, which is NaN if any
            union is empty. "matlab" (the RefineNet authors' code): classes that the truth lacks are left out, predicted
            or not. "absent_as_zero" (SegNet's script): such classes count 0.

    Returns:
        The mean; NaN if no class is left.
    """
    iou = class_iou(matrix)
    if convention == "cityscapes":
        return float(iou.nanmean())
    if convention == "voc":
        return float(iou.mean())
    if convention == "matlab":
        return float(iou[matrix.sum(1) > 0].mean())
    if convention == "absent_as_zero":
        return float(iou.nan_to_num(0.0).mean())
    raise ValueError(f"no convention {convention!r}; expected one of {', '.join(CONVENTIONS)}")


def frequency_weighted_iou(matrix: Tensor) -> float:
    """The classes' IoU weighted with their shares of the counted pixels; NaN if none was counted."""
    shares = matrix.sum(1).double() / matrix.sum()
    return float((shares * class_iou(matrix).nan_to_num(0.0)).sum())


def pixel_accuracy(matrix: Tensor) -> float:
    """Share of counted pixels whose class is right; NaN if none was counted."""
    return float(matrix.diagonal().sum().double() / matrix.sum().double())


def mean_accuracy(matrix: Tensor) -> float:
    """Mean of the recall over the classes present in the truth; NaN if there is none."""
    return float(recall(matrix).nanmean())


def precision(matrix: Tensor) -> Tensor:
    """Share of the pixels predicted as each class that are right; NaN where it is never predicted."""
    hits, _, predicted = _counts(matrix)
    return hits / predicted


def recall(matrix: Tensor) -> Tensor:
    """Share of the true pixels of each class that are found; NaN where the truth lacks it."""
    hits, true, _ = _counts(matrix)
    return hits / true


def f1(matrix: Tensor) -> Tensor:
    """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN), or Dice; NaN where the union is empty."""
    hits, true, predicted = _counts(matrix)
    return 2 * hits / (true + predicted)


def _counts(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of each class that are hit, true and predicted, summed as integers and then exact in float64."""
    return tuple(count.to(torch.float64) for count in (matrix.diagonal(), matrix.sum(1), matrix.sum(0)))  # type: ignore[return-value]
