"""The content of `results.json`, and the table of metrics that the commands print."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table
from torch import Tensor

from refinenet_pl.evaluation import metrics
from refinenet_pl.evaluation.boundary import BoundaryIoU, TrimapIoU
from refinenet_pl.evaluation.error_parts import PARTS, iou_losses, largest_swaps, swap_losses
from refinenet_pl.evaluation.intervals import LEVEL
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.scores import score
from refinenet_pl.text import join, percent, percent_interval

LABELS = {
    "edge": "At edges",
    "swap": "swapped classes",
    "missed": "missed segments",
    "invented": "invented segments",
}
"""Names of the parts of errors in a sentence."""


def summarize(matrix: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
    """Return all metrics of a confusion matrix (rows are the target), in 0..1; None where a metric is undefined."""
    return {
        "miou": defined(metrics.mean_iou(matrix)),
        "pixel_accuracy": defined(metrics.pixel_accuracy(matrix)),
        "mean_accuracy": defined(metrics.mean_accuracy(matrix)),
        "frequency_weighted_iou": defined(metrics.frequency_weighted_iou(matrix)),
        "miou_conventions": {name: defined(metrics.mean_iou(matrix, name)) for name in metrics.CONVENTIONS},
        "per_class_iou": _by_name(class_names, metrics.class_iou(matrix).tolist()),
        "per_class_precision": _by_name(class_names, metrics.precision(matrix).tolist()),
        "per_class_recall": _by_name(class_names, metrics.recall(matrix).tolist()),
        "per_class_f1": _by_name(class_names, metrics.f1(matrix).tolist()),
        "confusion_matrix": matrix.tolist(),
    }


def summarize_boundaries(boundary: BoundaryIoU, trimap: TrimapIoU, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the Boundary IoU with the formula of its width, and the mean IoU for each trimap width in pixels."""
    per_class = boundary.compute()
    return {
        "boundary_iou": {
            "mean": defined(float(per_class.nanmean())),
            "per_class": _by_name(class_names, per_class.tolist()),
            "width": f"max(1, round({boundary.width:g} * image diagonal)) pixels",
        },
        "trimap_iou": {
            str(width): defined(float(iou.nanmean()))
            for width, iou in zip(trimap.widths, trimap.compute(), strict=True)
        },
    }


def summarize_intervals(images: ImageMatrices) -> dict[str, Any]:
    """Return the intervals of one run over images, of the mean IoU and of the IoU of each class.

    They say nothing about other seeds. "units" tells which images count as independent, and "effective_images" how
    many independent images would give the mean IoU the same variance.
    """
    scores = score([images])
    *per_class, miou = scores.estimate().image_interval().clip(0, 1).tolist()
    return {
        "miou": defined_interval(miou),
        "per_class_iou": dict(zip(images.class_names, map(defined_interval, per_class), strict=True)),
        "level": LEVEL,
        "covers": "images",
        "units": scores.units.describe(),
        "effective_images": defined(round(scores.effective_images, 1)),
    }


def summarize_errors(images: ImageMatrices, pairs: int = 5) -> dict[str, Any] | None:
    """Return what each part of the errors takes from the IoU; None if the parts are unknown. See `error_parts`.

    Args:
        images: The images of the split.
        pairs: Number of swapped pairs of classes to list.

    Returns:
        "mean": points of 1 - mean IoU by part, "per_class": the same of each class, in 0..1; and "largest_swaps": the
        "classes" of each pair and what swapping them takes from the mean IoU, as "loss". Parts sum to 1 - IoU.
    """
    parts = images.error_parts()
    if parts is None:
        return None
    matrix = images.total()
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    losses = iou_losses(parts.sum(1) + parts.sum(2), union)
    swaps = swap_losses(parts, matrix)
    return {
        "mean": {
            name: defined(float(np.nanmean(loss)) if union.any() else math.nan)
            for name, loss in zip(PARTS, losses, strict=True)
        },
        "per_class": {
            name: dict(zip(PARTS, map(defined, column), strict=True))
            for name, column in zip(images.class_names, losses.T.tolist(), strict=True)
        },
        "largest_swaps": [
            {"classes": [images.class_names[a], images.class_names[b]], "loss": float(swaps[a, b])}
            for a, b in largest_swaps(swaps, pairs)
        ],
    }


def defined(value: float) -> float | None:
    """Return the value, or None if it is NaN, because JSON has no NaN."""
    return None if math.isnan(value) else value


def defined_interval(ends: Sequence[float]) -> list[float] | None:
    """Return the two ends as a list, or None if they are NaN."""
    return None if math.isnan(ends[0]) else list(ends)


def _by_name(class_names: Sequence[str], values: Iterable[float]) -> dict[str, float | None]:
    return dict(zip(class_names, map(defined, values), strict=True))


def results_table(results: Mapping[str, Any], title: str) -> Table:
    """Return a table of IoU, its interval and Boundary IoU in percent: one row per class, then the means."""
    intervals, boundary = results["intervals"], results["boundary_iou"]
    table = Table("class", title=title, caption=describe_errors(results.get("error_parts")))
    for heading in ("IoU %", f"{100 * intervals['level']:g} % interval", "boundary IoU %"):
        table.add_column(heading, justify="right")
    for name, iou in results["per_class_iou"].items():
        ends = percent_interval(intervals["per_class_iou"][name])
        table.add_row(name, percent(iou), ends, percent(boundary["per_class"][name]))
    table.add_section()
    ends = percent_interval(intervals["miou"])
    table.add_row("mean IoU", percent(results["miou"]), ends, percent(boundary["mean"]), style="bold")
    for label, key in (("pixel accuracy", "pixel_accuracy"), ("mean accuracy", "mean_accuracy")):
        table.add_row(label, percent(results[key]), style="bold")
    return table


def describe_errors(errors: Mapping[str, Any] | None) -> str | None:
    """Return a sentence on where the mean IoU went, from `summarize_errors`; None if it is unknown."""
    if errors is None or errors["mean"]["edge"] is None:
        return None
    parts = {name: f"{LABELS[name]} {percent(loss)}" for name, loss in errors["mean"].items()}
    if errors["largest_swaps"]:
        largest = errors["largest_swaps"][0]
        parts["swap"] += f" (most: {' and '.join(largest['classes'])}, {percent(largest['loss'])})"
    total = sum(errors["mean"].values())
    return f"Missing to 100 % mean IoU: {percent(total)} points. {join(parts.values())}."
