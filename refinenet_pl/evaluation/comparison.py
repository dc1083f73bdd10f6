"""Compare the IoU of runs on the same images, with paired bootstrap intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.bootstrap import LEVEL, RESAMPLES, interval, resampled_iou
from refinenet_pl.evaluation.metrics import class_iou, mean_iou, mean_over_classes
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import defined, defined_interval
from refinenet_pl.text import join


@dataclass(frozen=True)
class Scores:
    """IoU of one run, or averaged over several runs, in 0..1.

    Attributes:
        class_names: One name per class.
        images: Number of images.
        iou: IoU of each class over all images, then the mean IoU, float64 [C + 1]; NaN where undefined in any run.
        resampled: The same for each resample of the images, float64 [resamples, C + 1]. All runs share the resamples.
    """

    class_names: tuple[str, ...]
    images: int
    iou: np.ndarray
    resampled: np.ndarray


def score(runs: Sequence[ImageMatrices], resamples: int = RESAMPLES) -> Scores:
    """Return the IoU averaged over one or more runs on the same images.

    Args:
        runs: For example one run per seed.
        resamples: Number of resamples of the images. Runs are not resampled.
    """
    iou, resampled = [], []
    for images in runs:
        matrix = torch.from_numpy(images.total())
        iou.append([*class_iou(matrix).tolist(), mean_iou(matrix)])
        per_class = resampled_iou(images, resamples)
        resampled.append(np.column_stack([per_class, mean_over_classes(per_class)]))
    return Scores(runs[0].class_names, len(runs[0].names), np.mean(iou, axis=0), np.mean(resampled, axis=0))


def compare(a: ImageMatrices, b: ImageMatrices, level: float = LEVEL, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Compare the IoU of two runs.

    Returns:
        The result of `difference`.

    Raises:
        UserError: The runs were not evaluated on the same images with the same targets.
    """
    check_same_targets(a, b)
    return difference(score([a], resamples), score([b], resamples), level)


def difference(a: Scores, b: Scores, level: float = LEVEL) -> dict[str, Any]:
    """Return the difference in IoU, with its paired bootstrap interval: both sides share each resample.

    Returns:
        "images", "level", "resamples", "per_class_iou" (by class name) and "miou". Each entry of the last two has "a",
        "b", "difference" = b - a, and "interval" = [low, high] of the difference, in 0..1; None where undefined.
    """
    *per_class, miou = [
        {
            "a": defined(iou_a),
            "b": defined(iou_b),
            "difference": defined(iou_b - iou_a),
            "interval": defined_interval(interval(differences, level)),
        }
        for iou_a, iou_b, differences in zip(a.iou.tolist(), b.iou.tolist(), (b.resampled - a.resampled).T, strict=True)
    ]
    return {
        "images": a.images,
        "level": level,
        "resamples": len(a.resampled),
        "per_class_iou": dict(zip(a.class_names, per_class, strict=True)),
        "miou": miou,
    }


def excludes_zero(interval: Sequence[float] | None) -> bool:
    """Return whether the interval [low, high] of a difference excludes zero; False for None."""
    return interval is not None and (interval[0] > 0 or interval[1] < 0)


def check_same_targets(a: ImageMatrices, b: ImageMatrices) -> None:
    """Raise UserError unless both runs were evaluated on the same images with the same targets."""
    if a.class_names != b.class_names:
        raise UserError(
            f"run A has the classes {join(a.class_names)}; run B has {join(b.class_names)}. Only runs with the same "
            "classes in the same order can be compared."
        )
    unpaired = sorted(set(a.names) ^ set(b.names))
    if unpaired:
        raise UserError(
            f"run A has {len(a.names)} images, run B has {len(b.names)}; {len(unpaired)} of them are in only one run: "
            f"{join(unpaired, limit=3)}. Evaluate both runs on the same split of the same data."
        )
    moved = [bool(one and other and one != other) for one, other in zip(a.target_hashes, b.target_hashes, strict=True)]
    different = (a.target_pixels() != b.target_pixels()).any(axis=1) | moved
    if different.any():
        names = np.array(a.names)[different]
        raise UserError(
            f"the targets of {len(names)} images differ between the runs: {join(names, limit=3)}. Their label images "
            "have other values. Evaluate both runs with the same label images."
        )


def describe(comparison: Mapping[str, Any]) -> str:
    """Describe the difference in mean IoU in a few sentences: what its interval covers, and what it does not.

    Args:
        comparison: The result of `compare` or `difference`.
    """
    miou, level = comparison["miou"], f"{100 * comparison['level']:g} %"
    if miou["interval"] is None:
        return "There is no interval: the mean IoU is undefined, or there are fewer than two images."
    low, high = (100 * end for end in miou["interval"])
    points = 100 * miou["difference"]
    if excludes_zero(miou["interval"]):
        verdict = "It excludes zero: the sign is unlikely to change on similar images."
    else:
        verdict = "It includes zero: on similar images, either run could be better."
    return (
        f"On these {comparison['images']} images, B's mean IoU is {abs(points):.2f} points "
        f"{'below' if points < 0 else 'above'} A's. The {level} interval of the difference is {low:.2f} to {high:.2f} "
        f"points. {verdict} The interval covers other images of this kind. It does not cover other seeds."
    )
