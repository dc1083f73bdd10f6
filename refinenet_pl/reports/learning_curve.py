"""The learning curve of a training, from the metrics that it logged."""

import csv

from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder

Curve = dict[int, float]
"""Mean IoU of each validation, in 0..1, by the number of optimizer steps before it."""


def learning_curve(run: RunFolder) -> Curve:
    """Read the validations within a training; empty without metrics.

    Raises:
        UserError: The file is no CSV, or has no numbers.
    """
    if not run.metrics.is_file():
        return {}
    try:
        with run.metrics.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("val/miou")]
        return {int(row["step"]) + 1: float(row["val/miou"]) for row in rows}  # the file counts steps from zero
    except (csv.Error, KeyError, TypeError, ValueError) as error:  # a column is missing, or holds something else
        raise UserError(
            f"{run.metrics}: cannot read the column val/miou by step ({error}); restore the file, or delete it for a "
            "report without this learning curve"
        ) from error
