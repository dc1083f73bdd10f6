"""The rows of a report: metrics over seeds, the difference to the base row, and costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from refinenet_pl.evaluation.comparison import Difference, difference_of_rows
from refinenet_pl.evaluation.error_parts import PARTS
from refinenet_pl.evaluation.intervals import LEVEL
from refinenet_pl.evaluation.receptive_field import ReceptiveField
from refinenet_pl.evaluation.results import defined, defined_interval
from refinenet_pl.evaluation.scores import Scores, score
from refinenet_pl.reports.learning_curve import Curve, learning_curve
from refinenet_pl.reports.metric import metric_at
from refinenet_pl.reports.row_costs import Costs, row_costs
from refinenet_pl.reports.seed_runs import SeedRun
from refinenet_pl.studies.study import Levels, PublishedMetric


@dataclass(frozen=True)
class Row:
    """One row of a report on one dataset. Metrics are in 0..1.

    Attributes:
        levels: What the row is: the level of each factor of a study, or a name.
        runs: The finished runs, one per seed.
        values: The report's metric in each run; None where it is undefined.
        mean: Mean of `values`; None if a value is undefined or there are no runs.
        std: Sample standard deviation of `values`; None for fewer than two.
        scores: IoU in each run, with what its intervals need; None without runs.
        difference: `mean` minus the base row's mean, both over the seeds of `compared`; None if one is undefined.
        compared: Difference in IoU between the base row and this row. None for the base row, and if either has no runs.
        costs: Costs of training and inference.
        curves: Learning curve of each training, by run folder.
        published: A published value of this row.
        field: Receptive field of the first seed; None if it was not measured.
        planned: Number of seeds that the row has or will have.
        level: Level of its stars: see `evaluation.looks`.
    """

    levels: Levels
    runs: list[SeedRun]
    values: list[float | None]
    mean: float | None
    std: float | None
    scores: Scores | None
    difference: float | None
    compared: Difference | None
    costs: Costs
    curves: dict[Path, Curve]
    published: PublishedMetric | None
    field: ReceptiveField | None
    planned: int
    level: float

    @property
    def label(self) -> str:
        """Name of the row in tables and plots."""
        return " · ".join(self.levels.values())

    @property
    def last_validation(self) -> float | None:
        """Mean IoU of the last validation within the training, mean over seeds. `values` are of the best one."""
        return fmean(curve[max(curve)] for curve in self.curves.values()) if self.curves else None

    @property
    def mean_errors(self) -> list[float]:
        """What each part of the errors takes from the mean IoU, mean over seeds; NaN where unknown."""
        if self.scores is None or self.scores.errors is None:
            return [float("nan")] * len(PARTS)
        return self.class_errors[:, -1].tolist()

    @property
    def class_errors(self) -> np.ndarray:
        """What each part of the errors takes from the IoU of each class, then of the mean, [len(PARTS), C + 1]."""
        assert self.scores is not None
        assert self.scores.errors is not None
        return self.scores.errors.values.mean(axis=0).reshape(len(PARTS), -1)

    @property
    def error_counts(self) -> list[tuple[SeedRun, np.ndarray]]:
        """The wrong pixels of each run by part, for the runs that tell the parts."""
        pairs = [(run, run.images.error_parts()) for run in self.runs]
        return [(run, parts) for run, parts in pairs if parts is not None]

    def column(self, metric: str) -> int | None:
        """Return the column of a metric in `scores`: of mean IoU or the IoU of a class; None for other metrics."""
        if self.scores is None:
            return None
        names = {**{f"per_class_iou.{name}": index for index, name in enumerate(self.scores.class_names)}, "miou": -1}
        return names.get(metric)

    def interval(self, metric: str) -> list[float] | None:
        """Return the interval of the row's mean, over seeds and images, or over images if there is one seed."""
        column = self.column(metric)
        if self.scores is None or column is None:
            return None
        return defined_interval(self.scores.estimate().interval()[column].clip(0, 1).tolist())

    def difference_interval(self, metric: str) -> list[float] | None:
        """Return the interval of `difference`; None for the base row and for metrics without interval."""
        column = self.column(metric)
        if self.compared is None or column is None:
            return None
        return defined_interval(self.compared.estimate.interval()[column].tolist())

    def seed_share(self, metric: str) -> float | None:
        """Return the share of the variance of `difference` that is due to seeds, 0..1."""
        column = self.column(metric)
        if self.compared is None or column is None:
            return None
        return defined(float(self.compared.estimate.seed_share[column]))


def make_row(
    levels: Levels,
    runs: list[SeedRun],
    metric: str,
    base: Row | None,
    planned: int,
    *,
    level: float = LEVEL,
    inference: Mapping[str, str] | None = None,
    published: PublishedMetric | None = None,
    field: ReceptiveField | None = None,
) -> Row:
    """Make a row from its runs.

    Args:
        levels: As for `Row`.
        runs: The finished runs, one per seed. There may be none.
        metric: Key of the metric in `results.json`.
        base: The row to compare with; None for the base row.
        planned: As for `Row`.
        level: As for `Row`.
        inference: Costs of inference: see `row_costs`.
        published: As for `Row`.
        field: As for `Row`.

    Raises:
        UserError: A file of a run cannot be read, or lacks the metric.
    """
    values = [metric_at(metric, run.results, run.folder.results) for run in runs]
    known = [value for value in values if value is not None]
    mean = fmean(known) if known and len(known) == len(values) else None
    scores = score([run.images for run in runs], [run.seed for run in runs]) if runs else None
    compared = difference_of_rows(base.scores, scores) if base and base.scores and scores else None
    trainings = [run.training for run in runs if run.training]
    curves = {training.path: learning_curve(training) for training in trainings}
    return Row(
        levels=levels,
        runs=runs,
        values=values,
        mean=mean,
        std=stdev(known) if mean is not None and len(known) > 1 else None,
        scores=scores,
        difference=None if compared is None else _difference(compared, base, runs, values),
        compared=compared,
        costs=row_costs(inference or {}, trainings),
        curves={path: curve for path, curve in curves.items() if curve},
        published=published,
        field=field,
        planned=planned,
        level=level,
    )


def _difference(
    compared: Difference, base: Row | None, runs: list[SeedRun], values: list[float | None]
) -> float | None:
    """Return the difference of the report's metric, over the seeds that are compared."""
    assert base is not None
    means = []
    for side, row_runs, row_values in ((compared.a, base.runs, base.values), (compared.b, runs, values)):
        chosen = [value for run, value in zip(row_runs, row_values, strict=True) if run.seed in side.seeds]
        if None in chosen:
            return None
        means.append(fmean(value for value in chosen if value is not None))
    return means[1] - means[0]
