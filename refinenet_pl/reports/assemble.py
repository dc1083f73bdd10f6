"""Assembles a report. The file formats only format it."""

import itertools
from dataclasses import dataclass
from typing import Any

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.comparison import difference_of_rows
from refinenet_pl.evaluation.intervals import LEVEL
from refinenet_pl.evaluation.results import defined
from refinenet_pl.reports.ceilings import Ceilings
from refinenet_pl.reports.class_columns import class_columns, error_columns
from refinenet_pl.reports.columns import Column, cost_columns, main_columns
from refinenet_pl.reports.notes import caption, class_caption, error_caption, notes, pair_note
from refinenet_pl.reports.page_images import ReportImages, Selection, embed_images, select_images
from refinenet_pl.reports.plot_files import Plot, make_plots
from refinenet_pl.reports.predictions import describe_missing
from refinenet_pl.reports.records import Record, row_records
from refinenet_pl.reports.summary import DatasetSummary, Summary


@dataclass(frozen=True)
class ClassComparison:
    """IoU per class of the finished rows, and the differences of every two rows.

    Attributes:
        rows: Labels of the rows.
        classes: Names of the classes.
        iou: IoU of each row and class, then the mean IoU, in 0..1; None where undefined.
        pairs: Differences of row B to row A, by their numbers "A-B" with A < B. Each holds, per class and for the mean,
            "difference", "interval" and "marked".
        ceilings: Ceiling of each class, by the name of the limit; empty if it was not measured.
        level: Level of the intervals, in 0..1.
        covered: What the intervals cover.
    """

    rows: list[str]
    classes: list[str]
    iou: list[list[float | None]]
    pairs: dict[str, list[dict[str, Any]]]
    ceilings: Ceilings
    level: float
    covered: str


@dataclass(frozen=True)
class DatasetReport:
    """The part of a report on one dataset.

    Attributes:
        name: Name of the dataset; None if there is only one.
        class_table: IoU per class.
        class_caption: Caption of the class table.
        error_table: What each part of the errors takes from the mean IoU; empty if the parts are unknown.
        error_caption: Caption of this table.
        comparison: IoU per class of every two rows.
        plots: The plots.
        images: Images for the page; None if there are no predictions, or the data cannot be read.
        missing: One sentence on missing predictions, with the command to run; empty if none is missing.
        error: Why the images cannot be read; empty if they can.
    """

    name: str | None
    class_table: list[Column]
    class_caption: str
    error_table: list[Column]
    error_caption: str
    comparison: ClassComparison
    plots: list[Plot]
    images: ReportImages | None
    missing: str
    error: str


@dataclass(frozen=True)
class Report:
    """A report, independent of file formats.

    Attributes:
        name: Name for labels in LaTeX.
        title: Title.
        caption: Caption of the main table.
        table: The main table.
        costs: The table of costs; empty if the main table has them.
        factors: Number of leading columns of both tables that name the row.
        sources: Sources of published values; the table refers to them by number, from 1.
        warnings: What is missing, and what differs from the plan.
        incomplete: Whether anything is missing or differs.
        notes: How to read the tables.
        records: Full-precision values of each row.
        datasets: One part per dataset with results.
        missing: One sentence on the missing predictions of all datasets; empty if none is missing.
    """

    name: str
    title: str
    caption: str
    table: list[Column]
    costs: list[Column]
    factors: int
    sources: list[str]
    warnings: list[str]
    incomplete: bool
    notes: list[str]
    records: list[Record]
    datasets: list[DatasetReport]
    missing: str

    @property
    def numbered_sources(self) -> list[str]:
        """The sources with their numbers."""
        return [f"[{number}] {source}" for number, source in enumerate(self.sources, 1)]


def assemble(summary: Summary, trust: bool = False) -> Report:
    """Assemble a report. Predictions are embedded if their files exist.

    Args:
        summary: The results.
        trust: As for `run_data`.
    """
    rows = [row for dataset in summary.datasets for row in dataset.rows]
    sources = list(dict.fromkeys(row.published.provenance for row in rows if row.published))
    selections = [select_images(dataset.first_runs) for dataset in summary.datasets]
    return Report(
        name=summary.name,
        title=summary.title,
        caption=caption(summary),
        table=main_columns(summary, sources),
        costs=cost_columns(summary),
        factors=len(summary.factors),
        sources=sources,
        warnings=summary.warnings,
        incomplete=summary.incomplete,
        notes=notes(summary),
        records=row_records(summary),
        datasets=[
            _assemble_dataset(dataset, selection, describe_missing([selection], summary.prediction_advice), trust)
            for dataset, selection in zip(summary.datasets, selections, strict=True)
        ],
        missing=describe_missing(selections, summary.prediction_advice),
    )


def _assemble_dataset(dataset: DatasetSummary, selection: Selection, missing: str, trust: bool) -> DatasetReport:
    images, message = None, ""
    try:
        images = embed_images(selection, trust)
    except UserError as error:  # the rest of a report does not need the data
        message = str(error)
    return DatasetReport(
        name=dataset.name,
        class_table=class_columns(dataset),
        class_caption=class_caption(dataset),
        error_table=error_columns(dataset),
        error_caption=error_caption(dataset),
        comparison=_compare_classes(dataset),
        plots=make_plots(dataset),
        images=images,
        missing=missing,
        error=message,
    )


def _compare_classes(dataset: DatasetSummary) -> ClassComparison:
    scores = [row.scores for row in dataset.finished if row.scores is not None]
    pairs = {}
    for (first, a), (second, b) in itertools.combinations(enumerate(scores), 2):
        compared = difference_of_rows(a, b)
        entries, marks = compared.as_dict(), compared.marked().tolist()
        pairs[f"{first}-{second}"] = [
            {"difference": entry["difference"], "interval": entry["interval"], "marked": mark}
            for entry, mark in zip([*entries["per_class_iou"].values(), entries["miou"]], marks, strict=True)
        ]
    iou = [[defined(value) for value in score.iou.tolist()] for score in scores]
    return ClassComparison(
        [row.label for row in dataset.finished],
        list(dataset.class_names),
        iou,
        pairs,
        dataset.ceilings or {},
        LEVEL,
        pair_note(dataset),
    )
