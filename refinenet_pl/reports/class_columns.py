"""The tables of classes and of errors as columns, independent of the file format."""

import math
from statistics import fmean

import numpy as np

from refinenet_pl.evaluation.error_parts import PARTS, largest_swaps, swap_losses
from refinenet_pl.evaluation.results import defined, defined_interval
from refinenet_pl.reports.columns import EMPTY, PART_HEADINGS, Column, mark, points
from refinenet_pl.reports.rows import Row
from refinenet_pl.reports.summary import DatasetSummary
from refinenet_pl.text import join, percent, percent_interval


def class_columns(dataset: DatasetSummary) -> list[Column]:
    """Return the class table: ceilings and IoU of each class, with differences in brackets, then the means.

    A single row has its intervals instead of differences.
    """
    names = [*dataset.class_names, "mean IoU"]
    columns = [Column("class", names, names)]
    for limit, ceilings in (dataset.ceilings or {}).items():
        known = [value for value in ceilings if value is not None]
        values = [*ceilings, fmean(known) if known else None]
        columns.append(Column(f"ceiling, {limit}", [percent(value) for value in values], values))
    for row in dataset.finished:
        assert row.scores is not None
        iou = [defined(value) for value in row.scores.iou.tolist()]
        cells = [percent(value) for value in iou]
        if row.compared is not None:
            for index, value in enumerate(row.compared.estimate.value.tolist()):
                if cells[index] != EMPTY and not math.isnan(value):
                    cells[index] += f" ({points(value)}{mark(dataset.marks[row.label][index])})"
        columns.append(Column(row.label if len(dataset.finished) > 1 else "IoU %", cells, iou))
    return [*columns, *(_interval_column(row) for row in dataset.finished if len(dataset.finished) == 1)]


def _interval_column(row: Row) -> Column:
    assert row.scores is not None
    ends = [defined_interval(pair) for pair in row.scores.estimate().interval().clip(0, 1).tolist()]
    return Column(
        "interval", [percent_interval(pair) for pair in ends], [None if pair is None else pair[0] for pair in ends]
    )


def error_columns(dataset: DatasetSummary) -> list[Column]:
    """Return the table of errors: what each part takes from the mean IoU of each row, and its largest swap.

    Rows whose runs do not tell the parts are left out. Empty if there are no others.
    """
    rows = [row for row in dataset.finished if row.scores is not None and row.scores.errors is not None]
    if not rows:
        return []
    columns = [Column("row", [row.label for row in rows], [row.label for row in rows])]
    for part, name in enumerate(PARTS):
        cells = [_error(dataset, row, part) for row in rows]
        columns.append(Column(f"{PART_HEADINGS[name]}, points", cells, [row.mean_errors[part] for row in rows]))
    swaps = [_largest_swap(row) for row in rows]
    return [*columns, Column("largest swap, points", swaps, swaps)]


def _error(dataset: DatasetSummary, row: Row, part: int) -> str:
    """Return what a part takes from the mean IoU, with the difference to the base row and its interval in brackets."""
    text = percent(defined(row.mean_errors[part]))
    compared = None if row.compared is None else row.compared.errors
    if compared is None:
        return text
    column = part * (len(dataset.class_names) + 1) + len(dataset.class_names)
    difference, ends = float(compared.value[column]), defined_interval(compared.interval()[column].tolist())
    if math.isnan(difference):
        return text
    inner = f"{points(difference)}{mark(bool(dataset.error_marks[row.label][part, -1]))}"
    return f"{text} ({inner}; {percent_interval(ends)})".replace("-", "−") if ends else f"{text} ({inner})"


def _largest_swap(row: Row) -> str:
    losses = np.mean([swap_losses(parts, run.images.total()) for run, parts in row.error_counts], axis=0)
    names = row.runs[0].images.class_names
    return join(f"{names[a]} and {names[b]} {percent(losses[a, b])}" for a, b in largest_swaps(losses, 1)) or EMPTY
