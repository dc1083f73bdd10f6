"""Two runs over the same images: the difference of their IoU, and whether the choice of images can explain it."""

from typing import Any

import numpy as np
import torch

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.bootstrap import LEVEL, RESAMPLES, interval, mean_over_classes, resampled_iou
from refinenet_pl.evaluation.figures import class_iou, mean_iou
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import defined, defined_interval


def compare(a: ImageMatrices, b: ImageMatrices, level: float = LEVEL, resamples: int = RESAMPLES) -> dict[str, Any]:
    """IoU of two runs, their difference, and its paired bootstrap interval: each resample is one for both runs.

    Returns:
        "images", "level", "resamples", "per_class_iou" by name, and "miou"; each of the last two gives "a", "b",
        "difference" = b - a, and "interval" = [low, high] of the difference, in 0..1, None where undefined.

    Raises:
        UserError: The runs were not scored on the same images with the same truth.
    """
    _refuse_another_truth(a, b)
    matrices = [torch.from_numpy(images.total()) for images in (a, b)]
    of_a, of_b = ([*class_iou(matrix).tolist(), mean_iou(matrix)] for matrix in matrices)
    drawn_a, drawn_b = (resampled_iou(images, resamples) for images in (a, b))
    spread = np.column_stack([drawn_b - drawn_a, mean_over_classes(drawn_b) - mean_over_classes(drawn_a)])
    *per_class, miou = [
        {
            "a": defined(first),
            "b": defined(second),
            "difference": defined(second - first),
            "interval": defined_interval(interval(differences, level)),
        }
        for first, second, differences in zip(of_a, of_b, spread.T, strict=True)
    ]
    return {
        "images": len(a.names),
        "level": level,
        "resamples": resamples,
        "per_class_iou": dict(zip(a.class_names, per_class, strict=True)),
        "miou": miou,
    }


def _refuse_another_truth(a: ImageMatrices, b: ImageMatrices) -> None:
    if a.class_names != b.class_names:
        raise UserError(
            f"run A has the classes {', '.join(a.class_names)}; run B has {', '.join(b.class_names)}. Only runs with "
            "the same classes in the same order can be compared."
        )
    lonely = sorted(set(a.names) ^ set(b.names))
    if lonely:
        raise UserError(
            f"run A was scored on {len(a.names)} images, run B on {len(b.names)}, and {len(lonely)} are in one alone, "
            f"among them {', '.join(lonely[:3])}. Evaluate both on the same split of the same data."
        )
    other = (a.true() != b.true()).any(axis=1)
    if other.any():
        names = np.array(a.names)[other]
        raise UserError(
            f"the true labels of {len(names)} images differ between the runs, among them {', '.join(names[:3])}: their "
            "pixels of each class are not as many. Evaluate both against the same label images."
        )


def in_words(compared: dict[str, Any]) -> str:
    """One sentence on the mean IoU: what the interval says, and what it does not."""
    miou, level = compared["miou"], f"{100 * compared['level']:g} %"
    if miou["interval"] is None:
        return "There is no interval: the mean IoU is undefined, or there are fewer than two images."
    low, high = (100 * end for end in miou["interval"])
    points = 100 * miou["difference"]
    if low <= 0 <= high:
        verdict = "holds zero: on other images like these, either could be ahead"
    else:
        verdict = "excludes zero: other images like these would hardly turn it round"
    return (
        f"Over these {compared['images']} images, B's mean IoU is {abs(points):.2f} points "
        f"{'below' if points < 0 else 'above'} A's, with a {level} interval from {low:.2f} to {high:.2f} that "
        f"{verdict}; but the interval is over images of this split, not over seeds, so what training either network "
        "once more would change is not in it."
    )
