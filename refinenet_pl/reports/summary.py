"""What a report shows: its rows by dataset, and what holds for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from refinenet_pl.evaluation.error_parts import PARTS
from refinenet_pl.evaluation.intervals import Estimate, marked, mean_estimate
from refinenet_pl.reports.ceilings import Ceilings
from refinenet_pl.reports.rows import Row
from refinenet_pl.reports.seed_runs import SeedRun


@dataclass(frozen=True)
class DatasetSummary:
    """The results on one dataset. Rows are compared within a dataset only.

    Attributes:
        name: Name of the dataset; None if the report has only one.
        metric: Key of the metric in `results.json`.
        rows: All rows, the base row first. Their labels are unique.
        ceilings: IoU that a perfect network could score; None if it was not measured.
        image_size: Width and height of the image for which inference was measured, such as "480 x 360"; empty if it was
            not measured.
    """

    name: str | None
    metric: str
    rows: list[Row]
    ceilings: Ceilings | None
    image_size: str

    @property
    def finished(self) -> list[Row]:
        """Rows with at least one finished run."""
        return [row for row in self.rows if row.runs]

    @property
    def rows_by_training(self) -> list[list[Row]]:
        """The finished rows, grouped by the trainings that they share."""
        groups: dict[Path, list[Row]] = {}
        for row in self.finished:
            run = row.runs[0]
            groups.setdefault((run.training or run.folder).path, []).append(row)
        return list(groups.values())

    @cached_property
    def marks(self) -> dict[str, np.ndarray]:
        """Whether each row's differences get a star, per class and then for the mean IoU, by the row's label.

        They are adjusted for the number of rows: see `evaluation.intervals.marked`.
        """
        rows = [row for row in self.finished if row.compared is not None]
        estimates = [row.compared.estimate for row in rows if row.compared is not None]
        found = marked(estimates, [row.level for row in rows])
        return {row.label: marks for row, marks in zip(rows, found, strict=True)}

    @cached_property
    def error_marks(self) -> dict[str, np.ndarray]:
        """The same for what each part of the errors takes from the IoU, bool [len(PARTS), C + 1]."""
        compared = {row.label: row.compared.errors for row in self.finished if row.compared is not None}
        known = {label: estimate for label, estimate in compared.items() if estimate is not None}
        levels = {row.label: row.level for row in self.finished}
        found = marked([*known.values()], [levels[label] for label in known])
        return {label: marks.reshape(len(PARTS), -1) for label, marks in zip(known, found, strict=True)}

    def is_marked(self, row: Row, metric: str) -> bool:
        """Return whether the difference of a row gets a star."""
        column = row.column(metric)
        return column is not None and row.label in self.marks and bool(self.marks[row.label][column])

    @property
    def covers_seeds(self) -> bool:
        """Whether the interval of some difference covers seeds; without differences, that of the only row."""
        compared = [row.compared.estimate for row in self.rows if row.compared is not None]
        estimates = compared or [row.scores.estimate() for row in self.finished if row.scores is not None]
        return any(estimate.covers_seeds for estimate in estimates)

    @property
    def images(self) -> int:
        """Number of evaluated images."""
        return len(self.finished[0].runs[0].images.names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class."""
        return self.finished[0].runs[0].images.class_names

    @property
    def devices(self) -> list[str]:
        """Devices on which inference was measured."""
        return list(dict.fromkeys(row.costs.device for row in self.rows if row.costs.device))

    @property
    def split(self) -> str:
        """The split that was evaluated, "val" or "test"."""
        return self.finished[0].runs[0].split

    @property
    def first_runs(self) -> list[SeedRun]:
        """The first seed of each finished row, which pictures show."""
        return [row.runs[0] for row in self.finished]


@dataclass(frozen=True)
class Summary:
    """What a report shows: the results of a study, or of other runs.

    Attributes:
        name: Name for labels in LaTeX, such as that of the study.
        title: Title.
        metric: Key of the metric in `results.json`.
        factors: The names of `Row.levels`, and the levels of each in their order.
        datasets: The results on each dataset with a finished run.
        warnings: What is missing, and what differs from the plan.
        incomplete: Whether anything is missing or differs.
        prediction_advice: What to do about missing predictions.
        seeds: The seeds that every row has or will have; empty if they differ or are unknown.
        half_selects: Whether checkpoints were chosen on one half of the validation images, and evaluated on the other.
        most_seeds: Most seeds that a row may get if seeds are added to wide rows; None if none are added.
        notes: How the rows came about.
    """

    name: str
    title: str
    metric: str
    factors: dict[str, list[str]]
    datasets: list[DatasetSummary]
    warnings: list[str]
    incomplete: bool
    prediction_advice: str
    seeds: Sequence[int]
    half_selects: bool
    most_seeds: int | None = None
    notes: Sequence[str] = ()

    @cached_property
    def joint(self) -> dict[str, Estimate]:
        """The difference of each row to the base row in mean IoU, averaged over the datasets, by the row's label.

        Empty in studies of one dataset or of another metric, and without rows that are compared on every dataset.
        """
        if len(self.datasets) < 2 or self.metric != "miou":
            return {}
        found = {}
        for rows in zip(*(dataset.rows for dataset in self.datasets), strict=True):
            compared = [row.compared.estimate.only(-1) for row in rows if row.compared is not None]
            if len(compared) == len(rows):
                found[rows[0].label] = mean_estimate(compared)
        return found

    @cached_property
    def joint_marks(self) -> dict[str, bool]:
        """Whether each of these differences gets a star: see `DatasetSummary.marks`."""
        if self.most_seeds is not None:  # looks are counted within a dataset
            return {}
        return dict(zip(self.joint, (bool(marks[0]) for marks in marked([*self.joint.values()])), strict=True))
