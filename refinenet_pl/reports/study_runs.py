"""The finished runs of a study, and the cells that are missing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from refinenet_pl.class_paths import class_paths
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.reports.seed_runs import SeedRun, check_targets
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.folders import CellFolder, cell_folder, deviations, study_folder
from refinenet_pl.studies.study import Cell, Levels, Study
from refinenet_pl.text import join

EVALUATION_KEYS = ("data.", "model.inference")
"""Config keys compared for evaluation-only runs."""


@dataclass(frozen=True)
class StudyRuns:
    """All finished runs of a study.

    Attributes:
        finished: The cells with a finished run, in the order of the study, and their runs.
        missing: State of each cell without a finished run, by the cell's name.
        missing_datasets: Number of cells of each dataset that has no finished run, by the dataset's name. Their cells
            are not in `missing`.
        deviations: The cells whose runs differ from the study in a setting, by a text on the setting.
    """

    finished: list[tuple[Cell, SeedRun]]
    missing: dict[str, str] = field(default_factory=dict)
    missing_datasets: dict[str, int] = field(default_factory=dict)
    deviations: dict[str, list[str]] = field(default_factory=dict)

    def select(self, dataset: str | None, levels: Levels) -> list[SeedRun]:
        """Return the runs of one row on one dataset, one per finished seed."""
        return [run for cell, run in self.finished if cell.dataset == dataset and cell.levels == levels]

    @property
    def incomplete(self) -> bool:
        """Whether a cell is missing or a run differs from the study."""
        return bool(self.missing or self.missing_datasets or self.deviations)

    @property
    def warnings(self) -> list[str]:
        """One line per missing dataset, missing cell and deviation, or that there are none."""
        datasets = self.missing_datasets.items()
        missing = [
            *(f"Missing dataset: {name} (0 of {cells} cells finished)." for name, cells in datasets),
            *(f"Missing: {cell} ({state})." for cell, state in self.missing.items()),
        ]
        finished = len(self.finished)
        differing = []
        for line, cells in self.deviations.items():
            where = f"all {finished} finished cells" if len(cells) == finished > 1 else join(cells, limit=5)
            differing.append(f"Differs from the study in {where}: {line}.")
        return [
            *(missing or [f"All {len(self.finished)} cells have finished."]),
            *(differing or ["All finished runs have the configuration of the study."]),
        ]


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
            found.finished.append((cell, _seed_run(cell, run, training)))
            for line in _deviations(cell, run, evaluated_only=run != training):
                found.deviations.setdefault(line, []).append(cell.name)
        check_targets([run for cell, run in found.finished if cell.dataset == dataset])
    if not found.finished:
        raise UserError(
            f"{study.path}: none of its {len(study.cells)} cells has finished in {study_folder(runs, study)}; run the "
            "study first, or give the folder of its runs with --runs"
        )
    return found


def _seed_run(cell: Cell, run: RunFolder, training: RunFolder | None) -> SeedRun:
    return SeedRun(
        seed=cell.seed,
        folder=run,
        training=training,
        checkpoint=(training or run).best_checkpoint,
        predictions=run.predictions,
        named_classes=class_paths(cell.config),
        results=run.read_results(),
        images=ImageMatrices.load(run.per_image),
    )


def _state(folder: CellFolder) -> str:
    if folder.resumable:
        return "interrupted, resumes from its checkpoint"
    return "started, no checkpoint yet" if folder.runs else "not started"


def _deviations(cell: Cell, run: RunFolder, evaluated_only: bool) -> Iterator[str]:
    for key, (expected, found) in deviations(cell, run).items():
        if not evaluated_only or key.startswith(EVALUATION_KEYS):
            yield f"{key} is {found!r} in the run and {expected!r} in the study"
