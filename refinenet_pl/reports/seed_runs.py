"""The finished runs of a study, and the cells that are missing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.comparison import check_same_targets
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.folders import CellFolder, cell_folder, deviations, study_folder
from refinenet_pl.studies.study import Cell, Levels, Study

EVALUATION_KEYS = ("data.", "model.inference")
"""Config keys compared for evaluation-only runs."""


@dataclass(frozen=True)
class SeedRun:
    """The finished run of one cell.

    Attributes:
        cell: The cell.
        folder: Its run folder.
        training: Run folder of its training. This is `folder`, unless the cell only evaluates another cell's
            checkpoint. None if the training's folder is gone.
        results: Content of its `results.json`.
        images: Its confusion matrix per image.
    """

    cell: Cell
    folder: RunFolder
    training: RunFolder | None
    results: dict[str, Any]
    images: ImageMatrices

    @property
    def checkpoint(self) -> Path:
        """The evaluated checkpoint."""
        return (self.training or self.folder).best_checkpoint


@dataclass(frozen=True)
class StudyRuns:
    """All finished runs of a study.

    Attributes:
        finished: The runs, in the order of the study's cells.
        missing: State of each cell without a finished run, by the cell's name.
        missing_datasets: Number of cells of each dataset that has no finished run, by the dataset's name. Their cells
            are not in `missing`.
        deviations: The cells whose runs differ from the study in a setting, by a text on the setting.
    """

    finished: list[SeedRun]
    missing: dict[str, str] = field(default_factory=dict)
    missing_datasets: dict[str, int] = field(default_factory=dict)
    deviations: dict[str, list[str]] = field(default_factory=dict)

    def select(self, dataset: str | None, levels: Levels) -> list[SeedRun]:
        """Return the runs of one row on one dataset, one per finished seed."""
        return [run for run in self.finished if run.cell.dataset == dataset and run.cell.levels == levels]


def find_runs(study: Study, runs: Path) -> StudyRuns:
    """Read the finished runs of a study.

    Args:
        study: The study.
        runs: Folder of all runs.

    Raises:
        UserError: No cell has finished, a file cannot be read, or runs on one dataset have different targets.
    """
    found = StudyRuns([])
    trained = {cell.name: group[0] for group in study.cell_groups for cell in group}
    for dataset in study.dataset_names:
        cells = study.cells_of(dataset)
        folders = {cell.name: cell_folder(runs, study, cell) for cell in cells}
        if dataset is not None and not any(folder.finished for folder in folders.values()):
            found.missing_datasets[dataset] = len(cells)
            continue
        for cell in cells:
            run = folders[cell.name].finished
            if run is None:
                found.missing[cell.name] = _state(folders[cell.name])
                continue
            training = cell_folder(runs, study, trained[cell.name]).finished
            images = ImageMatrices.load(run.per_image)
            found.finished.append(SeedRun(cell, run, training, run.read_results(), images))
            for line in _deviations(cell, run, evaluated_only=run != training):
                found.deviations.setdefault(line, []).append(cell.name)
        _check_targets([run for run in found.finished if run.cell.dataset == dataset])
    if not found.finished:
        raise UserError(
            f"{study.path}: none of its {len(study.cells)} cells has finished in {study_folder(runs, study)}; run the "
            "study first, or give the folder of its runs with --runs"
        )
    return found


def _state(folder: CellFolder) -> str:
    if folder.resumable:
        return "interrupted, resumes from its checkpoint"
    return "started, no checkpoint yet" if folder.runs else "not started"


def _deviations(cell: Cell, run: RunFolder, evaluated_only: bool) -> Iterator[str]:
    for key, (expected, found) in deviations(cell, run).items():
        if not evaluated_only or key.startswith(EVALUATION_KEYS):
            yield f"{key} is {found!r} in the run and {expected!r} in the study"


def _check_targets(runs: list[SeedRun]) -> None:
    for run in runs[1:]:
        try:
            check_same_targets(runs[0].images, run.images)
        except UserError as error:
            raise UserError(f"run A: {runs[0].folder.path}\nrun B: {run.folder.path}\n{error}") from error
