"""The tables of a study as columns, independent of the file format."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from refinenet_pl.evaluation.error_parts import PARTS, largest_swaps, swap_losses
from refinenet_pl.evaluation.results import defined, defined_interval
from refinenet_pl.reports.metric import metric_name
from refinenet_pl.reports.row_costs import Costs
from refinenet_pl.reports.summary import DatasetSummary, Row, Summary
from refinenet_pl.text import duration, join, percent, percent_interval

EMPTY = "–"
PART_HEADINGS = {"edge": "at edges", "swap": "swapped", "missed": "missed", "invented": "invented"}
"""Headings of the parts of errors."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        heading: Heading with the unit.
        cells: Text of each row.
        values: Sort key of each row; None sorts last.
        group: Dataset of the column, in a study of several datasets.
        weak: Which cells rest on weak evidence, and are shown in gray; empty for none.
    """

    heading: str
    cells: list[str]
    values: Sequence[float | str | None]
    group: str | None = None
    weak: Sequence[bool] = ()

    @property
    def title(self) -> str:
        """The heading, after the name of the dataset if there is one."""
        return self.heading if self.group is None else f"{self.group}: {self.heading}"

    @property
    def empty(self) -> bool:
        """Whether no row has a value."""
        return all(cell == EMPTY for cell in self.cells)


def main_columns(summary: Summary, sources: Sequence[str]) -> list[Column]:
    """Return the main table: the factors, then a group of columns per dataset. Empty columns are left out.

    Only a study without `datasets` has its costs in the main table. Several groups of all columns would be too wide.

    Args:
        summary: The study.
        sources: Sources of published values. The table refers to them by number, from 1.
    """
    columns = _factor_columns(summary)
    for dataset in summary.datasets:
        columns += _metric_columns(dataset, sources)
        columns += [] if summary.study.datasets else _cost_columns(dataset)
    columns.append(_joint_column(summary))
    return [column for column in columns if not column.empty]


def _joint_column(summary: Summary) -> Column:
    """Return the differences averaged over datasets, with their intervals."""
    cells, values = [], []
    for row in summary.datasets[0].rows:
        estimate = summary.joint.get(row.label)
        value = None if estimate is None else defined(float(estimate.value[0]))
        ends = None if estimate is None else defined_interval(estimate.interval()[0].tolist())
        values.append(value)
        cells.append(_with_interval(value, ends, summary.joint_marks.get(row.label, False)))
    return Column("mean difference", cells, values, "All datasets")


def cost_columns(summary: Summary) -> list[Column]:
    """Return the table of costs of a study with `datasets`; empty for other studies, and if no cost is known."""
    if not summary.study.datasets:
        return []
    costs = [column for dataset in summary.datasets for column in _cost_columns(dataset) if not column.empty]
    return [*_factor_columns(summary), *costs] if costs else []


def _factor_columns(summary: Summary) -> list[Column]:
    study = summary.study
    return [
        Column(
            factor,
            (levels := [row[factor] for row in study.grid]),
            [[*study.factors[factor]].index(level) for level in levels],
        )
        for factor in study.factors
    ]


def _metric_columns(dataset: DatasetSummary, sources: Sequence[str]) -> list[Column]:
    study, rows = dataset.study, dataset.rows

    def column(heading: str, cells: list[str], values: Sequence[float | None], weak: Sequence[bool] = ()) -> Column:
        return Column(heading, cells, values, dataset.name, weak)

    weak = [row.published is not None and row.published.weak for row in rows]

    return [
        column(f"{metric_name(study.metric)} %", [_mean(row) for row in rows], [row.mean for row in rows]),
        column(
            "interval",
            [percent_interval(row.interval(study.metric)) for row in rows],
            [interval[0] if (interval := row.interval(study.metric)) else None for row in rows],
        ),
        _numbers(dataset, "last validation %", lambda row: row.last_validation, percent),
        column("seeds", [_seeds(row, dataset.seeds_planned(row)) for row in rows], [len(row.runs) for row in rows]),
        column(
            "difference",
            [_difference(row, study.metric, dataset.is_marked(row, study.metric)) for row in rows],
            [row.difference for row in rows],
        ),
        _numbers(
            dataset, "due to seeds, %", lambda row: row.seed_share(study.metric), lambda share: f"{100 * share:.0f}"
        ),
        column(
            "published %",
            [_published(row, sources) for row in rows],
            [None if row.published is None else row.published.value / 100 for row in rows],
            weak=weak,
        ),
        column(
            "ours − published",
            [EMPTY if (value := published_difference(row)) is None else points(value) for row in rows],
            [published_difference(row) for row in rows],
            weak=weak,
        ),
    ]


def _cost_columns(dataset: DatasetSummary) -> list[Column]:
    return [
        _numbers(dataset, "parameters, M", lambda row: row.costs.parameters, lambda value: f"{value / 1e6:.2f}"),
        _numbers(dataset, "GFLOPs", lambda row: row.costs.gflops, lambda value: f"{value:.1f}"),
        Column(
            "latency, ms",
            [_latency(row.costs) for row in dataset.rows],
            [row.costs.latency for row in dataset.rows],
            dataset.name,
        ),
        _numbers(dataset, "inference, MB", lambda row: row.costs.inference_memory, lambda value: f"{value:.0f}"),
        _numbers(dataset, "training time", lambda row: row.costs.training_time, duration),
        _numbers(dataset, "training, MB", lambda row: row.costs.training_memory, lambda value: f"{value:.0f}"),
    ]


def _latency(costs: Costs) -> str:
    """Return the median, with the quartiles where they differ from it."""
    if costs.latency is None:
        return EMPTY
    median, *quartiles = (f"{1000 * value:.0f}" for value in (costs.latency, *(costs.latency_quartiles or ())))
    return median if {*quartiles} <= {median} else f"{median} ({' to '.join(quartiles)})"


def _numbers(
    dataset: DatasetSummary, heading: str, number: Callable[[Row], float | None], text: Callable[[float], str]
) -> Column:
    values = [number(row) for row in dataset.rows]
    return Column(heading, [EMPTY if value is None else text(value) for value in values], values, dataset.name)


def class_columns(dataset: DatasetSummary) -> list[Column]:
    """Return the class table: ceilings and IoU of each class, with differences in brackets, then the means."""
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
        columns.append(Column(row.label, cells, iou))
    return columns


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


def published_difference(row: Row) -> float | None:
    """Return the row's mean minus its published value, in 0..1; None if either is missing."""
    return None if row.published is None or row.mean is None else row.mean - row.published.value / 100


def points(difference: float) -> str:
    """Return a difference in points, with its sign."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def mark(marked: bool) -> str:
    """Return a star for a difference whose interval over seeds and images excludes zero."""
    return "*" if marked else ""


def _difference(row: Row, metric: str, marked: bool) -> str:
    return _with_interval(row.difference, row.difference_interval(metric), marked)


def _with_interval(difference: float | None, ends: list[float] | None, marked: bool) -> str:
    if difference is None:
        return EMPTY
    interval = f" ({percent_interval(ends).replace('-', '−')})" if ends else ""
    return f"{points(difference)}{mark(marked)}{interval}"


def _mean(row: Row) -> str:
    return percent(row.mean) if row.std is None else f"{percent(row.mean)} ± {percent(row.std)}"


def _seeds(row: Row, planned: int) -> str:
    if not row.runs:
        return f"0 of {planned}"
    seeds = join(run.cell.seed for run in row.runs)
    return seeds if len(row.runs) == planned else f"{seeds} ({len(row.runs)} of {planned})"


def _published(row: Row, sources: Sequence[str]) -> str:
    if row.published is None:
        return EMPTY
    value = f"{row.published.value:.2f} [{sources.index(row.published.provenance) + 1}]"
    return f"{value} {row.published.evidence}" if row.published.weak else value
