"""What the run folders of a study hold, read back: figures and learning curves."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refinenet_pl.errors import UserError

Curve = dict[int, float]
"""Mean IoU in 0..1 of the validations within a training, by the number of steps before each."""


def figure_at(place: str, results: Mapping[str, Any], path: Path) -> float | None:
    """The figure at a dotted place in results, None where it is undefined.

    Raises:
        UserError: There is nothing at that place, or no number.
    """
    found: Any = results
    for key in place.split("."):
        if not isinstance(found, dict) or key not in found:
            known = ", ".join(found) if isinstance(found, dict) else repr(found)
            raise UserError(f"metric {place}: {path} has no {key!r} there, but {known}")
        found = found[key]
    if found is not None and not isinstance(found, int | float):
        raise UserError(f"metric {place}: {path} has no number there; go on with one of {', '.join(found)}")
    return found


def learning_curve(run: Path) -> Curve:
    """The validations of a finished training, also where it was stopped and went on; empty if it kept no metrics."""
    parts = sorted(run.glob("metrics.part*.csv"), key=lambda path: int(path.stem.removeprefix("metrics.part")))
    last = run / "metrics.csv"
    points = [point for path in parts for point in _validations(path)]
    if last.is_file():
        points += _validations(last)[:-1]  # after which stands the evaluation of the best checkpoint
    return dict(sorted(dict(points).items()))


def _validations(path: Path) -> list[tuple[int, float]]:
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val/miou")]
    return [(int(row["step"]) + 1, float(row["val/miou"])) for row in rows]  # the file counts steps from zero
