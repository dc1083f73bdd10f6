"""Metrics of a confusion matrix.

A confusion matrix holds integers [C, C]; rows are the target, columns the prediction. Means are floats, metrics per
class are float64 [C]. All values are in 0..1. Undefined metrics are NaN.
"""

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

Convention = Literal["cityscapes", "voc", "matlab", "absent_as_zero"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)


def iou(correct: Tensor, target: Tensor, predicted: Tensor) -> Tensor:
    """Return IoU = TP / (TP + FP + FN) from pixel counts.

    Args:
        correct: Pixels whose predicted class is right (TP), any shape.
        target: Pixels of the class in the target (TP + FN), of the same shape.
        predicted: Pixels predicted as the class (TP + FP), of the same shape.

    Returns:
        float64 of the same shape; NaN where the union is empty.
    """
    correct, target, predicted = (count.to(torch.float64) for count in (correct, target, predicted))
    return correct / (target + predicted - correct)


def class_iou(matrix: Tensor) -> Tensor:
    """Return the IoU of each class; NaN where the union is empty."""
    return iou(*_pixel_counts(matrix))


def mean_iou(matrix: Tensor, convention: Convention = "cityscapes") -> float:
    """Return the mean IoU over the classes; the conventions differ on classes that the target lacks.

    Args:
        matrix: The confusion matrix.
        convention: How absent classes count.

            - "cityscapes" (its scripts, mmsegmentation, torchmetrics' macro average) leaves out classes with an empty
              union. A class that is only predicted counts 0.
            - "voc" (the VOC devkit) is the plain mean. It is NaN if any union is empty.
            - "matlab" (the RefineNet authors' code) leaves out all classes that the target lacks, predicted or not.
            - "absent_as_zero" (SegNet's script) counts classes with an empty union as 0.

    Returns:
        The mean; NaN if no class is left.
    """
    per_class = class_iou(matrix)
    if convention == "cityscapes":
        return float(per_class.nanmean())
    if convention == "voc":
        return float(per_class.mean())
    if convention == "matlab":
        return float(per_class[matrix.sum(1) > 0].mean())
    if convention == "absent_as_zero":
        return float(per_class.nan_to_num(0.0).mean())
    raise ValueError(f"no convention {convention!r}; expected one of {', '.join(CONVENTIONS)}")


def mean_over_classes(per_class: np.ndarray) -> np.ndarray:
    """Return the mean of [..., C] over the classes that are not NaN, float64 [...]; NaN if all are NaN."""
    defined = ~np.isnan(per_class)
    sums, count = np.where(defined, per_class, 0.0).sum(-1), defined.sum(-1)
    return np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)


def frequency_weighted_iou(matrix: Tensor) -> float:
    """Return the IoU averaged over classes, weighted by their target pixels; NaN if no pixel was counted."""
    weights = matrix.sum(1).double() / matrix.sum()
    return float((weights * class_iou(matrix).nan_to_num(0.0)).sum())


def pixel_accuracy(matrix: Tensor) -> float:
    """Return the fraction of counted pixels whose class is right; NaN if no pixel was counted."""
    return float(matrix.diagonal().sum().double() / matrix.sum().double())


def mean_accuracy(matrix: Tensor) -> float:
    """Return the mean recall over the classes in the target; NaN if there are none."""
    return float(recall(matrix).nanmean())


def precision(matrix: Tensor) -> Tensor:
    """Return the fraction of each class's predicted pixels that are right; NaN where it is never predicted."""
    correct, _, predicted = _pixel_counts(matrix)
    return correct / predicted


def recall(matrix: Tensor) -> Tensor:
    """Return the fraction of each class's target pixels that are found; NaN where the target lacks it."""
    correct, target, _ = _pixel_counts(matrix)
    return correct / target


def f1(matrix: Tensor) -> Tensor:
    """Return F1 (Dice) = 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall.

    NaN where the union is empty.
    """
    correct, target, predicted = _pixel_counts(matrix)
    return 2 * correct / (target + predicted)


def _pixel_counts(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the correct, target and predicted pixels of each class, float64 [C].

    Sums are integers first: they stay exact beyond the precision of float32.
    """
    return matrix.diagonal().double(), matrix.sum(1).double(), matrix.sum(0).double()
