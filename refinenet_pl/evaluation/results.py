"""`results.json`, and the table that a person reads."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from torch import Tensor

from refinenet_pl.evaluation import figures
from refinenet_pl.evaluation.bootstrap import LEVEL, RESAMPLES, interval, mean_over_classes, resampled_iou
from refinenet_pl.evaluation.boundary import BoundaryIoU, TrimapIoU
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.files import written_whole


def summarize(matrix: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
    """Every figure of a confusion matrix (rows = truth), in 0..1, None where a figure is undefined."""
    return {
        "miou": defined(figures.mean_iou(matrix)),
        "pixel_accuracy": defined(figures.pixel_accuracy(matrix)),
        "mean_accuracy": defined(figures.mean_accuracy(matrix)),
        "frequency_weighted_iou": defined(figures.frequency_weighted_iou(matrix)),
        "miou_conventions": {name: defined(figures.mean_iou(matrix, name)) for name in figures.CONVENTIONS},
        "per_class_iou": _by_name(class_names, figures.class_iou(matrix).tolist()),
        "per_class_precision": _by_name(class_names, figures.precision(matrix).tolist()),
        "per_class_recall": _by_name(class_names, figures.recall(matrix).tolist()),
        "per_class_f1": _by_name(class_names, figures.f1(matrix).tolist()),
        "confusion_matrix": matrix.tolist(),
    }


def summarize_boundaries(boundary: BoundaryIoU, trimap: TrimapIoU, class_names: Sequence[str]) -> dict[str, Any]:
    """Boundary IoU with the rule of its width, and the mean IoU of each trimap width in pixels."""
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
    """Bootstrap intervals over the images of mean IoU and of each class's."""
    iou = resampled_iou(images)
    return {
        "miou": defined_interval(interval(mean_over_classes(iou))),
        "per_class_iou": {
            name: defined_interval(interval(values)) for name, values in zip(images.class_names, iou.T, strict=True)
        },
        "level": LEVEL,
        "resamples": RESAMPLES,
    }


def defined(value: float) -> float | None:
    """The value, or None if it is NaN, which JSON lacks."""
    return None if math.isnan(value) else value


def defined_interval(ends: tuple[float, float]) -> list[float] | None:
    """The two ends, or None if they are NaN."""
    return None if math.isnan(ends[0]) else list(ends)


def _by_name(class_names: Sequence[str], values: Iterable[float]) -> dict[str, float | None]:
    return dict(zip(class_names, map(defined, values), strict=True))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON: a reader never sees half a file, and a killed run leaves the last one whole."""
    with written_whole(path) as file:
        file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def results_table(results: Mapping[str, Any], title: str) -> Table:
    """IoU, its interval and boundary IoU of each class, then the means, in per cent."""
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


def percent(value: float | None) -> str:
    """A fraction in per cent with two decimals, or a dash where there is none."""
    return "–" if value is None else f"{100 * value:.2f}"


def percent_interval(ends: Sequence[float] | None) -> str:
    """The two ends in per cent, or a dash where there are none."""
    return "–" if ends is None else " to ".join(map(percent, ends))
