"""What a perfect network could score: targets at the resolution of its logits, and targets that are a pixel off."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from refinenet_pl.evaluation.confusion import confusion_matrix
from refinenet_pl.evaluation.metrics import iou

IGNORE_INDEX = 255
STRIDES = (4, 8, 32)
"""Image pixels per logit: of RefineNet and Light-Weight RefineNet, DeepLab, and the encoders."""
MOVES = (1, 2)
"""By how many pixels targets are moved."""
DIRECTIONS = 2
"""Right and down. To the left and up, target and prediction change places, which gives the same IoU."""


def at_stride(target: Tensor, stride: int) -> Tensor:
    """Return the prediction of a network that knows the class fractions of the cells of a coarse grid.

    An image of H x W pixels has ceil(H / stride) x ceil(W / stride) logits per class. The grid divides the image into
    as many equal cells, because `Inference` resizes logits to the whole image. A cell's logit of a class is the
    fraction of the class among the pixels that the cell touches, without ignored ones. The logits are resized
    bilinearly with `align_corners=False`, as in `Inference`, and each pixel takes the class of the highest logit; of
    equal logits, the first class.

    Logits that are no fractions can do better inside a cell, so that this is no strict bound.

    Args:
        target: Class indices, uint8 [H, W]; 255 for ignored pixels.
        stride: Image pixels per logit.

    Returns:
        Class indices, uint8 [H, W]; 255 if the whole target is ignored.
    """
    height, width = target.shape
    size = (-(-height // stride), -(-width // stride))
    counted = F.adaptive_avg_pool2d((target != IGNORE_INDEX)[None].float(), size)
    best = torch.full(target.shape, -1.0)
    prediction = torch.full_like(target, IGNORE_INDEX)
    for index in target.unique().tolist():  # sorted; one class at a time bounds the memory
        if index == IGNORE_INDEX:
            continue
        fraction = F.adaptive_avg_pool2d((target == index)[None].float(), size) / counted.clamp(min=1e-9)
        logit = F.interpolate(fraction[None], size=target.shape, mode="bilinear", align_corners=False)[0, 0]
        prediction[logit > best] = index
        best = torch.maximum(best, logit)
    return prediction


def moved(target: Tensor, pixels: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a target that is moved to the right, then down, as prediction, and the part of the target that it covers.

    Args:
        target: Class indices, uint8 [H, W]; 255 for ignored pixels.
        pixels: By how many pixels.

    Yields:
        Prediction and target of the same size. Pixels that are ignored in either are ignored in the target.
    """
    for prediction, part in ((target[:, :-pixels], target[:, pixels:]), (target[:-pixels], target[pixels:])):
        yield prediction, torch.where(prediction == IGNORE_INDEX, IGNORE_INDEX, part)


def limit_counts(target: Tensor, num_classes: int) -> Tensor:
    """Return the pixel counts of one target against each prediction, int64 [predictions, 3, C].

    The predictions are those of STRIDES, then those of MOVES in each direction. The counts are the arguments of
    `metrics.iou`: correct pixels, pixels of the target, predicted pixels.
    """
    pairs = [(at_stride(target, stride), target) for stride in STRIDES]
    pairs += [pair for pixels in MOVES for pair in moved(target, pixels)]
    matrices = [confusion_matrix(prediction, part, num_classes, IGNORE_INDEX) for prediction, part in pairs]
    return torch.stack([torch.stack([matrix.diagonal(), matrix.sum(1), matrix.sum(0)]) for matrix in matrices])


def limit_iou(counts: Tensor) -> dict[str, Tensor]:
    """Return the IoU of each class at each limit, float64 [C], from the `limit_counts` of all targets together.

    Of moved targets, it is the mean over the directions. It is NaN for a class that the targets lack.
    """
    correct, target, predicted = counts.unbind(1)
    values = iou(correct, target, predicted)
    at_strides = {f"stride {stride}": row for stride, row in zip(STRIDES, values[: len(STRIDES)], strict=True)}
    of_moves = values[len(STRIDES) :].view(len(MOVES), DIRECTIONS, -1).nanmean(1)
    return at_strides | {f"moved {pixels} px": row for pixels, row in zip(MOVES, of_moves, strict=True)}
