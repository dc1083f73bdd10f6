"""Metrics of a confusion matrix (integers [C, C], rows = target), in 0..1.

Means are floats, per-class metrics are float64 [C]. Undefined metrics are NaN.
"""

from typing import Literal, get_args

import numpy as np
from torch import Tensor

Convention = Literal["cityscapes", "voc", "matlab", "absent_as_zero"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)


def iou(correct: Tensor, target: Tensor, predicted: Tensor) -> Tensor:
    """Compute the intersection over union, TP / (TP + FP + FN).

    Args:
        correct: Correctly predicted pixels (the intersection), float64 of any shape.
        target: Pixels in the target, same shape.
        predicted: Pixels in the prediction, same shape.

    Returns:
        float64 of the same shape; NaN where the union is empty.
    """
    return correct / (target + predicted - correct)


def class_iou(matrix: Tensor) -> Tensor:
    """Return the IoU of each class; NaN where the union is empty."""
    return iou(*_pixel_counts(matrix))


def mean_iou(matrix: Tensor, convention: Convention = "cityscapes") -> float:
    """Return the mean IoU over the classes. The conventions treat classes without target pixels differently.

    Args:
        matrix: The confusion matrix.
        convention: "cityscapes" (its scripts, mmsegmentation, torchmetrics' macro average) leaves out classes with an
            empty union; a class that is only predicted counts as 0. "voc" (the VOC devkit) is the plain mean, which is
            NaN if any union is empty. "matlab" (the RefineNet authors' code) leaves out classes without target pixels,
            predicted or not. "absent_as_zero" (SegNet's script) counts classes with an empty union as 0.

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


def mean_over_classes(per_class_iou: np.ndarray) -> np.ndarray:
    """Average IoU over the classes where it is defined.

    Args:
        per_class_iou: float64 [..., C].

    Returns:
        float64 [...]; NaN where no class has a defined IoU.
    """
    is_defined = ~np.isnan(per_class_iou)
    sums, counts = np.where(is_defined, per_class_iou, 0.0).sum(-1), is_defined.sum(-1)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def frequency_weighted_iou(matrix: Tensor) -> float:
    """Return the per-class IoU weighted by each class's share of the target pixels; NaN if there are none."""
    frequencies = matrix.sum(1).double() / matrix.sum()
    return float((frequencies * class_iou(matrix).nan_to_num(0.0)).sum())


def pixel_accuracy(matrix: Tensor) -> float:
    """Return the share of pixels whose class is correct; NaN if there are no pixels."""
    return float(matrix.diagonal().sum().double() / matrix.sum().double())


def mean_accuracy(matrix: Tensor) -> float:
    """Return the mean recall over the classes with target pixels; NaN if there are none."""
    return float(recall(matrix).nanmean())


def precision(matrix: Tensor) -> Tensor:
    """Return the correct share of each class's predicted pixels; NaN where the class is never predicted."""
    correct, _, predicted = _pixel_counts(matrix)
    return correct / predicted


def recall(matrix: Tensor) -> Tensor:
    """Return the correct share of each class's target pixels; NaN where the class has none."""
    correct, target, _ = _pixel_counts(matrix)
    return correct / target


def f1(matrix: Tensor) -> Tensor:
    """Return F1 (also called Dice) of each class, 2 TP / (2 TP + FP + FN); NaN where the union is empty."""
    correct, target, predicted = _pixel_counts(matrix)
    return 2 * correct / (target + predicted)


def _pixel_counts(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count the correct, target and predicted pixels of each class, float64 [C].

    Sums are taken in integers; their conversion to float64 is exact up to 2**53 pixels.
    """
    correct, target, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    return correct.double(), target.double(), predicted.double()
