"""The tables of rows as columns, independent of the file format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refinenet_pl.evaluation.results import defined, defined_interval
from refinenet_pl.reports.metric import metric_name
from refinenet_pl.reports.row_costs import Costs
from refinenet_pl.reports.rows import Row
from refinenet_pl.reports.summary import DatasetSummary, Summary
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
        group: Dataset of the column, if there are several.
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

    Only a report on one dataset without name has its costs in the main table. Several groups of all columns would be
    too wide.

    Args:
        summary: What the report shows.
        sources: Sources of published values. The table refers to them by number, from 1.
    """
    columns = _factor_columns(summary)
    for dataset in summary.datasets:
        columns += _metric_columns(dataset, sources)
        columns += _cost_columns(dataset) if dataset.name is None else []
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
    """Return the table of costs if datasets have names, as in studies with `datasets`; empty if no cost is known."""
    named = [dataset for dataset in summary.datasets if dataset.name is not None]
    costs = [column for dataset in named for column in _cost_columns(dataset) if not column.empty]
    return [*_factor_columns(summary), *costs] if costs else []


def _factor_columns(summary: Summary) -> list[Column]:
    rows = summary.datasets[0].rows
    return [
        Column(factor, [row.levels[factor] for row in rows], [levels.index(row.levels[factor]) for row in rows])
        for factor, levels in summary.factors.items()
    ]


def _metric_columns(dataset: DatasetSummary, sources: Sequence[str]) -> list[Column]:
    metric, rows = dataset.metric, dataset.rows

    def column(heading: str, cells: list[str], values: Sequence[float | None], weak: Sequence[bool] = ()) -> Column:
        return Column(heading, cells, values, dataset.name, weak)

    weak = [row.published is not None and row.published.weak for row in rows]

    return [
        column(f"{metric_name(metric)} %", [_mean(row) for row in rows], [row.mean for row in rows]),
        column(
            "interval",
            [percent_interval(row.interval(metric)) for row in rows],
            [interval[0] if (interval := row.interval(metric)) else None for row in rows],
        ),
        _numbers(dataset, "last validation %", lambda row: row.last_validation, percent),
        column("seeds", [_seeds(row) for row in rows], [len(row.runs) for row in rows]),
        column(
            "difference",
            [_difference(row, metric, dataset.is_marked(row, metric)) for row in rows],
            [row.difference for row in rows],
        ),
        _numbers(dataset, "due to seeds, %", lambda row: row.seed_share(metric), lambda share: f"{100 * share:.0f}"),
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


def _seeds(row: Row) -> str:
    if not row.runs:
        return f"0 of {row.planned}"
    seeds = join("unknown" if run.seed is None else run.seed for run in row.runs)
    return seeds if len(row.runs) == row.planned else f"{seeds} ({len(row.runs)} of {row.planned})"


def _published(row: Row, sources: Sequence[str]) -> str:
    if row.published is None:
        return EMPTY
    value = f"{row.published.value:.2f} [{sources.index(row.published.provenance) + 1}]"
    return f"{value} {row.published.evidence}" if row.published.weak else value
