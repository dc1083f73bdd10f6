"""The folders of a study's cells, `RUNS/STUDY/CELL/`, with ordinary run folders in them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refinenet_pl.archives import is_cut_short
from refinenet_pl.differences import differences
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.study import Cell, Study


@dataclass(frozen=True)
class CellFolder:
    """The folder of one cell. It holds one run folder for each time that the cell was started anew."""

    path: Path

    @property
    def runs(self) -> list[RunFolder]:
        """The run folders, oldest first."""
        folders = [RunFolder(path) for path in sorted(self.path.glob("*/"))]
        return [folder for folder in folders if folder.config.is_file()]

    @property
    def finished(self) -> RunFolder | None:
        """The newest run with results."""
        return next((run for run in reversed(self.runs) if run.finished), None)

    @property
    def resumable(self) -> Path | None:
        """The checkpoint of the newest run to resume from: the last, or the best if the last one was cut short."""
        checkpoints = [file for run in self.runs[-1:] for file in (run.last_checkpoint, run.best_checkpoint)]
        return next((file for file in checkpoints if file.is_file() and not is_cut_short(file)), None)

    @property
    def lock(self) -> Path:
        """The process that works on the cell holds a lock on this file."""
        return self.path / "lock"

    @property
    def log(self) -> Path:
        """Output of the cell's processes."""
        return self.path / "log.txt"

    @property
    def experiment(self) -> Path:
        """The whole experiment, as the study composed it."""
        return self.path / "cell.yaml"

    @property
    def job(self) -> Path:
        """The cluster job of the cell's group."""
        return self.path / "job.json"

    @property
    def job_files(self) -> Path:
        """Folder of the files of the cluster job."""
        return self.path / "job"


def study_folder(runs: Path, study: Study) -> Path:
    """Return the folder of a study's cells; it may not exist."""
    return runs / study.name


def cell_folder(runs: Path, study: Study, cell: Cell) -> CellFolder:
    """Return the folder of a cell; it may not exist.

    Args:
        runs: Folder of all runs.
        study: The study.
        cell: One of its cells.
    """
    return CellFolder(study_folder(runs, study) / cell.name)


def deviations(cell: Cell, run: RunFolder) -> dict[str, tuple[Any, Any]]:
    """Return where the configuration of a run differs from its cell: by key, the cell's value and the run's.

    Only keys of the cell are compared. A run's configuration holds every default as well.
    """
    return differences(cell.config, run.read_config())
