"""What a study found, row by row: figures over seeds, differences to the base row, costs, and what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.progress import track

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.comparison import Scores, check_same_targets, difference, score
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.files import read_json
from refinenet_pl.reports.costs import Costs, costs_of
from refinenet_pl.reports.records import Curve, figure_at, learning_curve
from refinenet_pl.studies.folders import cell_folder, deviations
from refinenet_pl.studies.measure import inference_file, read_rows
from refinenet_pl.studies.study import Cell, Levels, PublishedMetric, Study, row_name

EVALUATED = ("data.", "model.inference")
"""What of its configuration matters to a run that was only evaluated; the rest is its training's."""


@dataclass(frozen=True)
class SeedRun:
    """The finished run of one cell.

    Attributes:
        cell: Its row and seed.
        folder: Its run folder.
        training: The run folder of its training: the same, unless this cell was only evaluated; None if that is gone.
        results: Its `results.json`.
        images: Its `per_image.npz`.
    """

    cell: Cell
    folder: Path
    training: Path | None
    results: dict[str, Any]
    images: ImageMatrices


@dataclass(frozen=True)
class Row:
    """One row of a study; figures are in 0..1.

    Attributes:
        levels: The level of each factor.
        runs: Its finished runs, in the order of the study's seeds.
        values: The study's metric in each of them, None where it is undefined.
        mean: Over `values`; None if one is undefined, or there is none.
        std: Their sample standard deviation; None with fewer than two.
        scores: IoU over seeds with its resamples; None without a finished run.
        difference: `mean` minus the base row's.
        compared: This row's IoU with the base row's, as `evaluation.comparison.difference` has it; None for the base
            row itself, and where either has no finished run.
        published: Somebody's figure.
        costs: What it costs.
        curves: Learning curves, by run folder of the training.
    """

    levels: Levels
    runs: list[SeedRun]
    values: list[float | None]
    mean: float | None
    std: float | None
    scores: Scores | None
    difference: float | None
    compared: dict[str, Any] | None
    published: PublishedMetric | None
    costs: Costs
    curves: dict[Path, Curve]

    @property
    def label(self) -> str:
        """Names the row in tables and pictures."""
        return " · ".join(self.levels.values())

    def interval(self, metric: str) -> list[float] | None:
        """Of `difference`, over the images; there is one for mean IoU and a class's IoU only."""
        if self.compared is None:
            return None
        name = metric.removeprefix("per_class_iou.")
        compared = self.compared["miou"] if metric == "miou" else self.compared["per_class_iou"].get(name)
        return compared and compared["interval"]


@dataclass(frozen=True)
class Summary:
    """What a study found.

    Attributes:
        study: What was to be run.
        rows: The base row first.
        missing: Cells without a finished run, each with what there is of it.
        deviations: What finished runs were configured otherwise than the study says, in words.
    """

    study: Study
    rows: list[Row]
    missing: dict[str, str]
    deviations: list[str]

    @property
    def title(self) -> str:
        """The study's, or else its name."""
        return self.study.title or self.study.name

    @property
    def incomplete(self) -> bool:
        """Whether a cell is missing, or a run differs from the study."""
        return bool(self.missing or self.deviations)

    @property
    def finished(self) -> list[Row]:
        """The rows with at least one finished run."""
        return [row for row in self.rows if row.runs]


def summarize_study(study: Study, runs: Path) -> Summary:
    """Read what has finished of a study.

    Args:
        study: The study.
        runs: The folder under which all runs lie.

    Raises:
        UserError: Nothing has finished, a file cannot be read, or runs were scored on different images.
    """
    found, missing, differing = _find_runs(study, runs)
    if not found:
        raise UserError(
            f"{study.path}: none of its {len(study.cells)} cells has finished under {runs / study.name}; run the "
            "study first, or give the folder of its runs with --runs"
        )
    for run in found[1:]:
        try:
            check_same_targets(found[0].images, run.images)
        except UserError as error:
            raise UserError(f"run A: {found[0].folder}\nrun B: {run.folder}\n{error}") from error
    inference = {line["row"]: line for line in read_rows(inference_file(study, runs))}
    rows: list[Row] = []
    for levels in track(study.grid, "resampling", transient=True):
        of_row = [run for run in found if run.cell.levels == levels]
        rows.append(_row(study, levels, of_row, inference.get(row_name(levels), {}), rows[0] if rows else None))
    return Summary(study, rows, missing, differing)


def _find_runs(study: Study, runs: Path) -> tuple[list[SeedRun], dict[str, str], list[str]]:
    trained = {cell.name: sharing[0] for sharing in study.cell_groups for cell in sharing}
    found, missing, differing = [], {}, []
    for cell in study.cells:
        folder = cell_folder(runs, study, cell)
        run = folder.finished
        if run is None:
            missing[cell.name] = "can go on from a checkpoint" if folder.unfinished else "not begun"
            if folder.runs and not folder.unfinished:
                missing[cell.name] = "begun, and no checkpoint yet"
            continue
        training = cell_folder(runs, study, trained[cell.name]).finished
        images = ImageMatrices.load(run / "per_image.npz")
        found.append(SeedRun(cell, run, training, read_json(run / "results.json", "evaluate that run again"), images))
        differing += [
            f"{cell.name}: {place} was {ran!r}; the study says {said!r}"
            for place, (said, ran) in deviations(cell, run).items()
            if run == training or place.startswith(EVALUATED)
        ]
    return found, missing, differing


def _row(study: Study, levels: Levels, runs: list[SeedRun], inference: Mapping[str, str], base: Row | None) -> Row:
    values = [figure_at(study.metric, run.results, run.folder / "results.json") for run in runs]
    there = [value for value in values if value is not None]
    mean = fmean(there) if there and len(there) == len(values) else None
    scores = score([run.images for run in runs]) if runs else None
    compared = difference(base.scores, scores) if base and base.scores and scores else None
    trainings = [run.training for run in runs if run.training]
    return Row(
        levels=levels,
        runs=runs,
        values=values,
        mean=mean,
        std=stdev(there) if mean is not None and len(there) > 1 else None,
        scores=scores,
        difference=None if base is None or base.mean is None or mean is None else mean - base.mean,
        compared=compared,
        published=study.published_for(levels),
        costs=costs_of(inference, trainings),
        curves={training: curve for training in trainings if (curve := learning_curve(training))},
    )
