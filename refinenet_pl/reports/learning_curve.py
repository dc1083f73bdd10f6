"""The learning curve of a training, from the metrics that it logged."""

import csv
from pathlib import Path

from refinenet_pl.runs import RunFolder

Curve = dict[int, float]
"""Mean IoU of each validation, in 0..1, by the number of optimizer steps before it."""


def learning_curve(run: RunFolder) -> Curve:
    """Read the validations of a finished training, including the parts of a resumed run; empty without metrics."""
    points: list[tuple[int, float]] = []
    for path in run.metrics_parts:
        validations = _validations(path)
        # The last validation of a finished run evaluates its best checkpoint.
        points += validations[:-1] if path == run.metrics else validations
    return dict(sorted(dict(points).items()))


def _validations(path: Path) -> list[tuple[int, float]]:
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/miou")]
    return [(int(row["step"]) + 1, float(row["val/miou"])) for row in rows]  # the file counts steps from zero
