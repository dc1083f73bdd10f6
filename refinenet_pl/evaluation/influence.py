"""The influence of each image on the IoU, or on what errors take from it: how much these move with that image."""

import numpy as np
import torch

from refinenet_pl.evaluation.error_parts import iou_losses
from refinenet_pl.evaluation.metrics import iou, mean_over_classes
from refinenet_pl.evaluation.per_image import ImageMatrices


def iou_and_influence(images: ImageMatrices) -> tuple[np.ndarray, np.ndarray]:
    """Return the IoU over all images and the influence of each image: see `influence_of`."""
    return influence_of(images.correct_pixels(), images.target_pixels(), images.predicted_pixels())


def influence_of(correct: np.ndarray, target: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the IoU over all images, and the influence of each image on it.

    IoU is a ratio of sums over images, I / U. The influence of image i is the first-order change of this ratio,
    (I_i - IoU * U_i) / U. The influences sum to zero. The variance of the IoU over other images of this kind is about
    the sum of their squares (the delta method).

    Args:
        correct: Pixels of each class whose prediction is right, [images, C].
        target: Target pixels of each class, [images, C].
        predicted: Pixels predicted as each class, [images, C].

    Returns:
        The IoU of each class, then the mean IoU, float64 [C + 1] in 0..1; NaN where undefined. And the influences,
        float64 [images, C + 1]; zero for classes without IoU.
    """
    per_class = iou(*(torch.from_numpy(pixels.sum(axis=0)) for pixels in (correct, target, predicted))).numpy()
    union = target + predicted - correct
    defined = ~np.isnan(per_class)
    change = correct - np.nan_to_num(per_class) * union
    influence = np.divide(change, union.sum(axis=0), out=np.zeros_like(change), where=defined)
    mean = influence[:, defined].mean(axis=1) if defined.any() else np.zeros(len(influence))
    return np.append(per_class, mean_over_classes(per_class)), np.column_stack([influence, mean])


def losses_and_influence(images: ImageMatrices) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what each part of the errors takes from the IoU, and the influence of each image on it.

    The loss of a part is a ratio of sums over images too: its errors over the union. See `influence_of`, `error_parts`.

    Returns:
        The losses: per part the loss of each class, then the mean over the classes with pixels, float64
        [len(PARTS), C + 1] in 0..1. And the influences, float64 [images, len(PARTS), C + 1]. None if the parts are
        unknown.
    """
    errors = images.error_pixels()
    if errors is None:
        return None
    union = images.target_pixels() + images.predicted_pixels() - images.correct_pixels()
    total = union.sum(axis=0)
    present = total > 0
    losses = iou_losses(errors.sum(axis=0), total)
    change = errors - np.nan_to_num(losses) * union[:, None]
    influence = np.divide(change, total, out=np.zeros_like(change), where=present)
    if not present.any():
        return np.pad(losses, ((0, 0), (0, 1)), constant_values=np.nan), np.pad(influence, ((0, 0), (0, 0), (0, 1)))
    losses, influence = (
        np.concatenate([values, values[..., present].mean(axis=-1, keepdims=True)], axis=-1)
        for values in (losses, influence)
    )
    return losses, influence
