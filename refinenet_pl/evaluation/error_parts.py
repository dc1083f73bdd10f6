"""What the wrong pixels of an image are: whole segments that are swapped, missed or invented, or pixels at an edge."""

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import csgraph

from refinenet_pl.evaluation.boundary import near_edges
from refinenet_pl.evaluation.ceiling import IGNORE_INDEX

PARTS = ("edge", "swap", "missed", "invented")
EDGE = 4
"""Width of an edge in pixels: the stride of RefineNet's logits."""


def error_parts(prediction: np.ndarray, target: np.ndarray, num_classes: int, edge: int = EDGE) -> np.ndarray:
    """Count the wrong pixels of one image by their part, target and prediction.

    A segment is a connected region of one class. Each wrong pixel lies in a segment of the target and in one of the
    prediction. A segment is found if at least half of its pixels are right; ignored pixels do not count. The pixel is

    - "swap" if neither segment is found: a region is taken for another class;
    - "missed" if the target's is not found, and the prediction's is: its neighbor swallows the segment;
    - "invented" if the prediction's is not found, and the target's is;
    - "edge" if both are found, and a pixel with another target is within `edge` rows and columns;
    - "swap" if both are found, elsewhere.

    So a thin object that is not there counts as missed, although all of its pixels are near an edge.

    Args:
        prediction: Class indices, integers [H, W].
        target: Class indices, integers [H, W]; 255 for ignored pixels. Segments of the prediction reach over them:
            where they surround each object, as in PASCAL VOC, a prediction that is too large stays one segment.
        num_classes: Number of classes.
        edge: Width of an edge in pixels.

    Returns:
        int64 [len(PARTS), C, C]; rows are the target. Summed over parts, the confusion matrix without its diagonal.
    """
    counted = target != IGNORE_INDEX
    wrong = counted & (prediction != target)
    if not wrong.any():
        return np.zeros((len(PARTS), num_classes, num_classes), np.int64)
    found_target, found_prediction = (_found(segments(mask), wrong, counted) for mask in (target, prediction))
    near = near_edges(torch.from_numpy(target), edge).numpy()[wrong]
    part = np.full(near.shape, PARTS.index("swap"))
    part[found_target & found_prediction & near] = PARTS.index("edge")
    part[~found_target & found_prediction] = PARTS.index("missed")
    part[found_target & ~found_prediction] = PARTS.index("invented")
    index = (part * num_classes + target[wrong]) * num_classes + prediction[wrong]
    counts = np.bincount(index, minlength=len(PARTS) * num_classes**2)
    return counts.reshape(len(PARTS), num_classes, num_classes)


def segments(mask: np.ndarray) -> np.ndarray:
    """Return the number of each pixel's segment, integers [H, W]: pixels of one value that share sides."""
    # Runs of equal pixels along the rows are the nodes of a graph: there are few of them.
    starts = np.ones(mask.shape, bool)
    np.not_equal(mask[:, 1:], mask[:, :-1], out=starts[:, 1:])
    run = starts.cumsum(dtype=np.int32).reshape(mask.shape) - 1
    # Runs of neighboring rows are linked where their values are equal. It is enough to look where one of them starts.
    linked = (mask[1:] == mask[:-1]) & (starts[1:] | starts[:-1])
    above, below = run[:-1][linked], run[1:][linked]
    links = sparse.coo_array((np.ones(len(above), bool), (above, below)), shape=(run[-1, -1] + 1,) * 2)
    _, segment = csgraph.connected_components(links, directed=False)
    return segment[run]


def _found(segment: np.ndarray, wrong: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Return whether at least half of a segment's counted pixels are right, for the segment of each wrong pixel."""
    size = np.bincount(segment[counted])
    errors = np.bincount(segment[wrong], minlength=len(size))
    return (2 * errors <= size)[segment[wrong]]


def iou_losses(errors: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Return what errors take from the IoU of each class, float64 like `errors`; summed over parts, it is 1 - IoU.

    Args:
        errors: Wrong pixels by class, [..., C]. A wrong pixel is an error of the target's class and the predicted one.
        union: Pixels of each class in target or prediction, [C].

    Returns:
        In 0..1; NaN for classes without pixels.
    """
    return np.divide(errors, union, out=np.full(errors.shape, np.nan), where=union > 0)


def swap_losses(parts: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return what swapping each pair of classes takes from the mean IoU, float64 [C, C], above the diagonal.

    Args:
        parts: Wrong pixels by part, [len(PARTS), C, C].
        matrix: The confusion matrix, [C, C].
    """
    swaps = parts[PARTS.index("swap")]
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    one_over_union = np.divide(1.0, union, out=np.zeros(len(union)), where=union > 0)
    # A swapped pixel is an error of both of its classes.
    losses = swaps * one_over_union + swaps * one_over_union[:, None]
    return np.triu(losses + losses.T, 1) / max(np.count_nonzero(union), 1)


def largest_swaps(losses: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Return the pairs of classes with the largest `swap_losses`, largest first; pairs without a loss are left out."""
    order = np.argsort(-losses, axis=None, kind="stable")[:count]
    return [divmod(int(index), losses.shape[1]) for index in order if losses.flat[index] > 0]
