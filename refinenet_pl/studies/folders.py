"""Where the cells of a study lie: `RUNS/STUDY/CELL/TIME/`, which are ordinary run folders."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refinenet_pl.files import read_yaml
from refinenet_pl.studies.study import Cell, Study


@dataclass(frozen=True)
class CellFolder:
    """The folder of one cell, with one run folder for each time that it was begun anew."""

    path: Path

    @property
    def runs(self) -> list[Path]:
        """Its run folders, oldest first."""
        return sorted(path.parent for path in self.path.glob("*/config.yaml"))

    @property
    def finished(self) -> Path | None:
        """The newest run folder that has results."""
        return next((run for run in reversed(self.runs) if (run / "results.json").is_file()), None)

    @property
    def unfinished(self) -> Path | None:
        """The newest run folder, if it can go on from a checkpoint."""
        return next((run for run in self.runs[-1:] if (run / "checkpoints" / "last.ckpt").is_file()), None)

    @property
    def log(self) -> Path:
        """What the cell's processes print."""
        return self.path / "log.txt"

    @property
    def experiment(self) -> Path:
        """The whole experiment as the study composed it."""
        return self.path / "cell.yaml"


def cell_folder(runs: Path, study: Study, cell: Cell) -> CellFolder:
    """The folder of a cell, which need not exist.

    Args:
        runs: The folder under which all runs lie.
        study: The study.
        cell: One of its cells.
    """
    return CellFolder(runs / study.name / cell.name)


def deviations(cell: Cell, run: Path) -> dict[str, tuple[Any, Any]]:
    """In what a run was configured otherwise than its cell, by place: what the study says, and what it ran with.

    A run's configuration says more than a cell's, namely every default; only what the cell says is compared.
    """
    return dict(_differences(cell.config, read_yaml(run / "config.yaml", "run"), ""))


def _differences(said: Any, ran: Any, key: str) -> list[tuple[str, tuple[Any, Any]]]:
    if isinstance(said, dict) and isinstance(ran, dict):
        return [pair for name in said for pair in _differences(said[name], ran.get(name), f"{key}.{name}".lstrip("."))]
    if isinstance(said, list) and isinstance(ran, list) and len(said) == len(ran):
        return [
            pair for i, items in enumerate(zip(said, ran, strict=True)) for pair in _differences(*items, f"{key}.{i}")
        ]
    if key.endswith("class_path") and str(ran).rpartition(".")[2] == str(said).rpartition(".")[2]:
        return []  # a run's configuration has it with its module
    return [] if said == ran else [(key, (said, ran))]
