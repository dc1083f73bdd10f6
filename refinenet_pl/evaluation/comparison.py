"""Runs over the same images: the difference of their IoU, and whether the choice of images can explain it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.bootstrap import LEVEL, RESAMPLES, interval, mean_over_classes, resampled_iou
from refinenet_pl.evaluation.metrics import class_iou, mean_iou
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import defined, defined_interval


@dataclass(frozen=True)
class Scores:
    """IoU in 0..1 of each class and, last, their mean: of one run, or the mean over runs of one kind.

    Attributes:
        class_names: One name a class.
        images: How many there are.
        iou: Over all images, float64 [C + 1]; NaN where it is undefined in any of the runs.
        resampled: Over each resample of the images, float64 [resamples, C + 1]; the same resamples for all runs.
    """

    class_names: tuple[str, ...]
    images: int
    iou: np.ndarray
    resampled: np.ndarray


def score(runs: Sequence[ImageMatrices], resamples: int = RESAMPLES) -> Scores:
    """The mean IoU over one or more runs, which were scored on the same images.

    Args:
        runs: One for each seed, say.
        resamples: Of the images; not of the runs, which are taken as they are.
    """
    iou, resampled = [], []
    for images in runs:
        matrix = torch.from_numpy(images.total())
        iou.append([*class_iou(matrix).tolist(), mean_iou(matrix)])
        drawn = resampled_iou(images, resamples)
        resampled.append(np.column_stack([drawn, mean_over_classes(drawn)]))
    return Scores(runs[0].class_names, len(runs[0].names), np.mean(iou, axis=0), np.mean(resampled, axis=0))


def compare(a: ImageMatrices, b: ImageMatrices, level: float = LEVEL, resamples: int = RESAMPLES) -> dict[str, Any]:
    """IoU of two runs, their difference, and its paired bootstrap interval: each resample is one for both runs.

    Returns:
        What `difference` returns.

    Raises:
        UserError: The runs were not scored on the same images with the same truth.
    """
    check_same_targets(a, b)
    return difference(score([a], resamples), score([b], resamples), level)


def difference(a: Scores, b: Scores, level: float = LEVEL) -> dict[str, Any]:
    """IoU of two kinds of runs over the same images, their difference, and its paired bootstrap interval.

    Returns:
        "images", "level", "resamples", "per_class_iou" by name, and "miou"; each of the last two gives "a", "b",
        "difference" = b - a, and "interval" = [low, high] of the difference, in 0..1, None where undefined.
    """
    *per_class, miou = [
        {
            "a": defined(first),
            "b": defined(second),
            "difference": defined(second - first),
            "interval": defined_interval(interval(differences, level)),
        }
        for first, second, differences in zip(
            a.iou.tolist(), b.iou.tolist(), (b.resampled - a.resampled).T, strict=True
        )
    ]
    return {
        "images": a.images,
        "level": level,
        "resamples": len(a.resampled),
        "per_class_iou": dict(zip(a.class_names, per_class, strict=True)),
        "miou": miou,
    }


def excludes_zero(interval: Sequence[float] | None) -> bool:
    """Return whether a difference's interval [low, high] excludes zero; False for None."""
    return interval is not None and (interval[0] > 0 or interval[1] < 0)


def check_same_targets(a: ImageMatrices, b: ImageMatrices) -> None:
    """Raise UserError, with what differs, unless both runs were scored on the same images with the same truth."""
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
    other = (a.target_pixels() != b.target_pixels()).any(axis=1)
    if other.any():
        names = np.array(a.names)[other]
        raise UserError(
            f"the true labels of {len(names)} images differ between the runs, among them {', '.join(names[:3])}: their "
            "pixels of each class are not as many. Evaluate both against the same label images."
        )


def describe(compared: dict[str, Any]) -> str:
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
