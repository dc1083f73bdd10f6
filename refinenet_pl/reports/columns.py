"""The tables of a study as columns of words and numbers, whatever they are then written as."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from refinenet_pl.evaluation.results import defined
from refinenet_pl.reports.notes import listed, metric_name, unique
from refinenet_pl.reports.summary import Row, Summary
from refinenet_pl.text import duration, percent, percent_interval

NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: With its unit.
        cells: What a person reads, a row each.
        values: What it is sorted by; None comes last.
    """

    heading: str
    cells: list[str]
    values: Sequence[float | str | None]

    @property
    def empty(self) -> bool:
        """Whether no row has anything in it."""
        return all(cell == NOTHING for cell in self.cells)


def main_columns(summary: Summary) -> list[Column]:
    """The study's table; columns in which there is nothing are left out."""
    study, rows = summary.study, summary.rows
    references = sources(summary)
    factors = [
        Column(
            factor,
            (levels := [row.levels[factor] for row in rows]),
            [[*study.factors[factor]].index(n) for n in levels],
        )
        for factor in study.factors
    ]
    seeds = Column("seeds", [_seeds(row, len(study.seeds)) for row in rows], [len(row.runs) for row in rows])
    published = [None if row.published is None else row.published.value / 100 for row in rows]
    columns = [
        *factors,
        Column(f"{metric_name(study.metric)} %", [_mean(row) for row in rows], [row.mean for row in rows]),
        seeds,
        Column(
            "difference",
            [difference_cell(row.difference, row.interval(study.metric)) for row in rows],
            [row.difference for row in rows],
        ),
        Column("published %", [_published(row, references) for row in rows], published),
        _numbers("ours − published", rows, published_difference, points),
        _numbers("parameters, M", rows, lambda row: row.costs.parameters, lambda value: f"{value / 1e6:.2f}"),
        _numbers("GFLOPs", rows, lambda row: row.costs.gflops, lambda value: f"{value:.1f}"),
        _numbers("latency, ms", rows, lambda row: row.costs.latency, lambda value: f"{1000 * value:.0f}"),
        _numbers("inference, MB", rows, lambda row: row.costs.inference_memory, lambda value: f"{value:.0f}"),
        _numbers("training time", rows, lambda row: row.costs.training_time, duration),
        _numbers("training, MB", rows, lambda row: row.costs.training_memory, lambda value: f"{value:.0f}"),
    ]
    return [column for column in columns if not column.empty]


def class_columns(summary: Summary) -> list[Column]:
    """IoU of each class in the finished rows, with the difference to the base row in brackets, then their mean."""
    rows = summary.finished
    names = [*rows[0].runs[0].images.class_names, "mean IoU"]
    columns = [Column("class", names, names)]
    for row in rows:
        assert row.scores is not None
        iou = [defined(value) for value in row.scores.iou.tolist()]
        compared = [] if row.compared is None else [*row.compared["per_class_iou"].values(), row.compared["miou"]]
        cells = [percent(value) for value in iou]
        for index, each in enumerate(compared):
            if each["difference"] is not None:
                cells[index] += f" ({points(each['difference'])}{mark(each['interval'])})"
        columns.append(Column(row.label, cells, iou))
    return columns


def sources(summary: Summary) -> list[str]:
    """Where the published figures come from; their places in this list, from 1, are what the table refers to."""
    return unique(row.published.source for row in summary.rows if row.published)


def published_difference(row: Row) -> float | None:
    """Ours minus the published figure, in 0..1."""
    return None if row.published is None or row.mean is None else row.mean - row.published.value / 100


def points(difference: float) -> str:
    """A difference in points with its sign."""
    return f"{100 * difference:+.2f}".replace("-", "−")


def mark(interval: Sequence[float] | None) -> str:
    """A star where an interval excludes zero."""
    return "*" if interval and (interval[0] > 0 or interval[1] < 0) else ""


def difference_cell(difference: float | None, interval: Sequence[float] | None) -> str:
    """A difference in points, with its mark and interval where there is one."""
    if difference is None:
        return NOTHING
    ends = f" ({percent_interval(interval).replace('-', '−')})" if interval else ""
    return f"{points(difference)}{mark(interval)}{ends}"


def _numbers(
    heading: str, rows: Sequence[Row], number: Callable[[Row], float | None], words: Callable[[float], str]
) -> Column:
    values = [number(row) for row in rows]
    return Column(heading, [NOTHING if value is None else words(value) for value in values], values)


def _mean(row: Row) -> str:
    return percent(row.mean) if row.std is None else f"{percent(row.mean)} ± {percent(row.std)}"


def _seeds(row: Row, planned: int) -> str:
    if not row.runs:
        return f"0 of {planned}"
    seeds = listed([run.cell.seed for run in row.runs])
    return seeds if len(row.runs) == planned else f"{seeds} ({len(row.runs)} of {planned})"


def _published(row: Row, references: Sequence[str]) -> str:
    if row.published is None:
        return NOTHING
    figure = f"{row.published.value:.2f} [{references.index(row.published.source) + 1}]"
    return figure if row.published.verified else f"{figure} recalled, unverified"
