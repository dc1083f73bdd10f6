"""The results of a study by dataset and row: metrics over seeds, differences to the base row, and costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from refinenet_pl.evaluation.comparison import Difference, difference_of_rows
from refinenet_pl.evaluation.error_parts import PARTS
from refinenet_pl.evaluation.intervals import LEVEL, Estimate, marked, mean_estimate
from refinenet_pl.evaluation.looks import look_level
from refinenet_pl.evaluation.receptive_field import ReceptiveField
from refinenet_pl.evaluation.results import defined, defined_interval
from refinenet_pl.evaluation.scores import Scores, score
from refinenet_pl.progress import track
from refinenet_pl.reports.ceilings import Ceilings, read_ceilings
from refinenet_pl.reports.learning_curve import Curve, learning_curve
from refinenet_pl.reports.metric import metric_at
from refinenet_pl.reports.receptive_fields import read_field
from refinenet_pl.reports.row_costs import Costs, row_costs
from refinenet_pl.reports.seed_runs import SeedRun, StudyRuns, find_runs
from refinenet_pl.studies.measure import inference_file, read_rows
from refinenet_pl.studies.study import Levels, PublishedMetric, Study, row_name


@dataclass(frozen=True)
class Row:
    """One row of a study on one dataset. Metrics are in 0..1.

    Attributes:
        levels: The level of each factor.
        runs: The finished runs, in the order of the study's seeds.
        values: The study's metric in each run; None where it is undefined.
        mean: Mean of `values`; None if a value is undefined or there are no runs.
        std: Sample standard deviation of `values`; None for fewer than two.
        scores: IoU in each run, with what its intervals need; None without runs.
        difference: `mean` minus the base row's mean, both over the seeds of `compared`; None if one is undefined.
        compared: Difference in IoU between the base row and this row. None for the base row, and if either has no runs.
        published: A published value of this row.
        costs: Costs of training and inference.
        curves: Learning curve of each training, by run folder.
        field: Receptive field of the first seed; None if it was not measured.
    """

    levels: Levels
    runs: list[SeedRun]
    values: list[float | None]
    mean: float | None
    std: float | None
    scores: Scores | None
    difference: float | None
    compared: Difference | None
    published: PublishedMetric | None
    costs: Costs
    curves: dict[Path, Curve]
    field: ReceptiveField | None = None

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


@dataclass(frozen=True)
class DatasetSummary:
    """The results of a study on one dataset. Rows are compared within a dataset only.

    Attributes:
        study: The study.
        name: Name of the dataset; None in a study without `datasets`.
        rows: All rows, the base row first.
        ceilings: IoU that a perfect network could score; None if it was not measured.
    """

    study: Study
    name: str | None
    rows: list[Row]
    ceilings: Ceilings | None = None

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
        found = marked(estimates, [self._level(row) for row in rows])
        return {row.label: marks for row, marks in zip(rows, found, strict=True)}

    @cached_property
    def error_marks(self) -> dict[str, np.ndarray]:
        """The same for what each part of the errors takes from the IoU, bool [len(PARTS), C + 1]."""
        compared = {row.label: row.compared.errors for row in self.finished if row.compared is not None}
        known = {label: estimate for label, estimate in compared.items() if estimate is not None}
        levels = {row.label: self._level(row) for row in self.finished}
        found = marked([*known.values()], [levels[label] for label in known])
        return {label: marks.reshape(len(PARTS), -1) for label, marks in zip(known, found, strict=True)}

    def _level(self, row: Row) -> float:
        """Return the level of a row's stars: see `evaluation.looks`."""
        most = self.study.most_seeds
        return LEVEL if most is None else look_level(len(self.study.seeds), self.seeds_planned(row), most)

    def seeds_planned(self, row: Row) -> int:
        """Return the number of seeds that a row has or will have."""
        return len(self.study.seeds_of(row.levels, self.name))

    def is_marked(self, row: Row, metric: str) -> bool:
        """Return whether the difference of a row gets a star."""
        column = row.column(metric)
        return column is not None and row.label in self.marks and bool(self.marks[row.label][column])

    @property
    def covers_seeds(self) -> bool:
        """Whether the interval of some difference covers seeds."""
        return any(row.compared is not None and row.compared.estimate.covers_seeds for row in self.rows)

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
    def image_size(self) -> str:
        """Width and height of the image for which inference was measured, such as "480 x 360"."""
        return " x ".join(map(str, reversed(self.study.image_size_of(self.name) or ())))


@dataclass(frozen=True)
class Summary:
    """The results of a study.

    Attributes:
        study: The study.
        folder: Folder of all runs.
        runs: The finished runs, and what is missing.
        datasets: The datasets with a finished run, in the order of the study.
    """

    study: Study
    folder: Path
    runs: StudyRuns
    datasets: list[DatasetSummary]

    @property
    def title(self) -> str:
        """Title of the study, or its name if it has none."""
        return self.study.title or self.study.name

    @cached_property
    def joint(self) -> dict[str, Estimate]:
        """The difference of each row to the base row in mean IoU, averaged over the datasets, by the row's label.

        Empty in studies of one dataset or of another metric, and without rows that are compared on every dataset.
        """
        if len(self.datasets) < 2 or self.study.metric != "miou":
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
        if self.study.most_seeds is not None:  # looks are counted within a dataset
            return {}
        return dict(zip(self.joint, (bool(marks[0]) for marks in marked([*self.joint.values()])), strict=True))

    @property
    def incomplete(self) -> bool:
        """Whether a cell is missing or a run differs from the study."""
        return bool(self.runs.missing or self.runs.missing_datasets or self.runs.deviations)


def summarize_study(study: Study, runs: Path) -> Summary:
    """Summarize the finished runs of a study.

    Args:
        study: The study.
        runs: Folder of all runs.

    Raises:
        UserError: No cell has finished, a file cannot be read, or runs on one dataset have different targets.
    """
    found = find_runs(study, runs)
    inference = {line["row"]: line for line in read_rows(inference_file(study, runs), "row")}
    datasets = []
    for dataset in study.dataset_names:
        if dataset in found.missing_datasets:
            continue
        rows: list[Row] = []
        with track(study.grid, f"reading {dataset or 'runs'}") as tracked:
            for levels in tracked:
                costs = inference.get(row_name(levels, dataset), {})
                selected = found.select(dataset, levels)
                field = read_field(study, runs, selected[0]) if selected else None
                rows.append(_row(study, dataset, levels, selected, costs, rows[0] if rows else None, field))
        first = next(row.runs[0] for row in rows if row.runs)
        datasets.append(DatasetSummary(study, dataset, rows, read_ceilings(study, runs, first)))
    return Summary(study, runs, found, datasets)


def _row(
    study: Study,
    dataset: str | None,
    levels: Levels,
    runs: list[SeedRun],
    inference: Mapping[str, str],
    base: Row | None,
    field: ReceptiveField | None,
) -> Row:
    values = [metric_at(study.metric, run.results, run.folder.results) for run in runs]
    defined = [value for value in values if value is not None]
    mean = fmean(defined) if defined and len(defined) == len(values) else None
    scores = score([run.images for run in runs], [run.cell.seed for run in runs]) if runs else None
    compared = difference_of_rows(base.scores, scores) if base and base.scores and scores else None
    trainings = [run.training for run in runs if run.training]
    curves = {training.path: learning_curve(training) for training in trainings}
    return Row(
        levels=levels,
        runs=runs,
        values=values,
        mean=mean,
        std=stdev(defined) if mean is not None and len(defined) > 1 else None,
        scores=scores,
        difference=None if compared is None else _difference(compared, base, runs, values),
        compared=compared,
        published=study.published_for(levels, dataset),
        costs=row_costs(inference, trainings),
        curves={path: curve for path, curve in curves.items() if curve},
        field=field,
    )


def _difference(
    compared: Difference, base: Row | None, runs: list[SeedRun], values: list[float | None]
) -> float | None:
    """Return the difference of the study's metric, over the seeds that are compared."""
    assert base is not None
    means = []
    for side, row_runs, row_values in ((compared.a, base.runs, base.values), (compared.b, runs, values)):
        chosen = [value for run, value in zip(row_runs, row_values, strict=True) if run.cell.seed in side.seeds]
        if None in chosen:
            return None
        means.append(fmean(value for value in chosen if value is not None))
    return means[1] - means[0]
