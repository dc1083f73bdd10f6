"""The content of `results.json`, and the table of metrics that the commands print."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from torch import Tensor

from refinenet_pl.evaluation import metrics
from refinenet_pl.evaluation.boundary import BoundaryIoU, TrimapIoU
from refinenet_pl.evaluation.intervals import LEVEL
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.scores import score
from refinenet_pl.text import percent, percent_interval


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
        "effective_images": defined(round(scores.effective_images(scores.units), 1)),
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
    table = Table("class", title=title)
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
