"""`results.json`, and the table that a person reads."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from torch import Tensor

from refinenet_pl.evaluation.confusion import class_iou, mean_accuracy, mean_iou, pixel_accuracy


def summarize(matrix: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
    """Every figure of a confusion matrix (rows = truth), in 0..1, None where a figure is undefined."""
    return {
        "miou": _number(mean_iou(matrix)),
        "pixel_accuracy": _number(pixel_accuracy(matrix)),
        "mean_accuracy": _number(mean_accuracy(matrix)),
        "per_class_iou": dict(zip(class_names, map(_number, class_iou(matrix).tolist()), strict=True)),
        "confusion_matrix": matrix.tolist(),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write beside, then rename: a reader never sees half a file, and a killed run leaves the last one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    os.replace(beside, path)


def results_table(results: Mapping[str, Any], title: str) -> Table:
    """The per-class IoU, then the means, in per cent."""
    table = Table("class", "IoU %", title=title)
    table.columns[1].justify = "right"
    for name, iou in results["per_class_iou"].items():
        table.add_row(name, _percent(iou))
    table.add_section()
    for label, key in (("mean IoU", "miou"), ("pixel accuracy", "pixel_accuracy"), ("mean accuracy", "mean_accuracy")):
        table.add_row(label, _percent(results[key]), style="bold")
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"
