"""What a perfect network could score: labels at the resolution of its output, and labels that are a pixel off."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from refinenet_pl.evaluation.confusion import confusion_matrix

IGNORE_INDEX = 255


def at_stride(target: Tensor, stride: int) -> Tensor:
    """Return the prediction of a perfect network whose output has a lower resolution.

    Each output cell has the fraction of each class among its pixels, without ignored ones. These maps are resized
    bilinearly (align_corners=False, as the networks' logits are), and each pixel takes the class of the highest value;
    of equal values, the first class. The right and bottom cells may lie partly outside the image.

    Args:
        target: Class indices, uint8 [H, W]; 255 for ignored pixels.
        stride: Side of an output cell in pixels.

    Returns:
        Class indices, uint8 [H, W]. All ignored pixels stay ignored if the target has no class.
    """
    height, width = target.shape
    padded = F.pad(target, (0, -width % stride, 0, -height % stride), value=IGNORE_INDEX)
    counted = F.avg_pool2d((padded != IGNORE_INDEX)[None].float(), stride)
    best = torch.full(padded.shape, -1.0)
    prediction = torch.full_like(padded, IGNORE_INDEX)
    for index in target.unique().tolist():
        if index == IGNORE_INDEX:
            continue
        share = F.avg_pool2d((padded == index)[None].float(), stride) / counted.clamp(min=1e-9)
        value = F.interpolate(share[None], size=padded.shape, mode="bilinear", align_corners=False)[0, 0]
        better = value > best
        best = torch.where(better, value, best)
        prediction[better] = index
    return prediction[:height, :width]


def moved(target: Tensor, pixels: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield a target moved to the right and down, as prediction, with the part of the target that it covers.

    Moves to the left and up give the same IoU. Pixels that are ignored in either are ignored in the target.

    Args:
        target: Class indices, uint8 [H, W]; 255 for ignored pixels.
        pixels: By how many pixels.
    """
    for prediction, part in ((target[:, :-pixels], target[:, pixels:]), (target[:-pixels], target[pixels:])):
        yield prediction, torch.where(prediction == IGNORE_INDEX, IGNORE_INDEX, part)


def ceilings(target: Tensor, num_classes: int, strides: Iterable[int], moves: Iterable[int]) -> dict[str, Tensor]:
    """Return the confusion matrix of one target for each limit, int64 [C, C], by the name of the limit."""
    matrices = {f"stride {stride}": _matrix(at_stride(target, stride), target, num_classes) for stride in strides}
    for pixels in moves:
        parts = [_matrix(prediction, part, num_classes) for prediction, part in moved(target, pixels)]
        matrices[f"{pixels} px off"] = torch.stack(parts).sum(0)
    return matrices


def _matrix(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
    return confusion_matrix(prediction, target, num_classes, IGNORE_INDEX)
