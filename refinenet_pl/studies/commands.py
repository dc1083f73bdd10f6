"""The processes of a study: one `refinenet` command per cell."""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from refinenet_pl.class_paths import class_paths
from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.studies.folders import CellFolder, cell_folder
from refinenet_pl.studies.study import Cell, Study, row_name
from refinenet_pl.text import join

REFINENET = [sys.executable, "-m", "refinenet_pl"]


@dataclass(frozen=True)
class CellGroup:
    """Cells that share one training.

    Attributes:
        study: The study.
        cells: The first cell is trained. The others evaluate its best checkpoint with their own inference.
        runs: Folder of all runs.
        options: Options of `refinenet fit` for every cell, nested by section. They override the cell's experiment.
    """

    study: Study
    cells: Sequence[Cell]
    runs: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    def folder(self, cell: Cell) -> CellFolder:
        """Return the folder of a cell."""
        return cell_folder(self.runs, self.study, cell)

    @property
    def devices(self) -> int:
        """Number of devices per machine."""
        return self._trainer_number("devices")

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self._trainer_number("num_nodes")

    def _trainer_number(self, key: str) -> int:
        trainer = {**self.cells[0].config.get("trainer", {}), **self.options.get("trainer", {})}
        number = str(trainer.get(key, 1))
        return int(number) if number.isdecimal() else 1  # "auto" is one device

    def next_cell(self) -> Cell | None:
        """Return the first unfinished cell, or None."""
        return next((cell for cell in self.cells if self.folder(cell).finished is None), None)

    def command(self, cell: Cell) -> list[str]:
        """Return the command that finishes a cell: it trains, resumes the last checkpoint, or evaluates.

        The cell's experiment is written first, because the command reads it.

        Raises:
            UserError: The cell is to be evaluated, and its training has left no checkpoint.
        """
        folder = self.folder(cell)
        with atomic_write(folder.experiment) as file:
            file.write_text(yaml.safe_dump(cell.config, sort_keys=False), encoding="utf-8")
        new_run = ["--config", folder.experiment, "--runs", folder.path.parent, "--experiment", cell.name]
        if cell is not self.cells[0]:
            words = ["validate", *new_run, "--ckpt_path", self._trained_checkpoint()]
        elif folder.resumable is not None:
            words = ["fit", "--ckpt_path", folder.resumable, *trust_options(class_paths(cell.config))]
        else:
            words = ["fit", *new_run]
        devices = [f"--trainer.devices={self.devices}", f"--trainer.num_nodes={self.nodes}"]
        return [*REFINENET, *map(str, words), *devices, *flatten(self.options)]

    def _trained_checkpoint(self) -> Path:
        folder = self.folder(self.cells[0])
        if folder.finished is None or not folder.finished.best_checkpoint.is_file():
            raise UserError(f"{folder.path}: found no best.ckpt of a finished run to evaluate; train that cell first")
        return folder.finished.best_checkpoint


def trust_options(classes: Collection[str]) -> list[str]:
    """Return the option that lets a checkpoint name classes that the user has named, and no others."""
    return ["--trust", *sorted(classes)] if classes else []  # --trust without a name would allow all


def runs_option(runs: Path) -> str:
    """Return the option for the folder of all runs, as the end of a command that is shown; empty for the default."""
    return "" if runs == Path("runs") else f" --runs {runs}"


def flatten(options: Mapping[str, Any], prefix: str = "--") -> list[str]:
    """Turn nested options into words of a command line, such as --data.root=/data/voc."""
    words: list[str] = []
    for name, value in options.items():
        if isinstance(value, Mapping) and value:
            words += flatten(value, f"{prefix}{name}.")
        else:
            words.append(f"{prefix}{name}={value if isinstance(value, str) else json.dumps(value)}")
    return words


def cell_groups(
    study: Study, runs: Path, options: Mapping[str, Any], only: Mapping[str, str] | None = None
) -> list[CellGroup]:
    """Return the cell groups of a study, in its order.

    Args:
        study: The study.
        runs: Folder of all runs.
        options: Options of `refinenet fit` for every cell, nested by section.
        only: Keep only cells with this level of a factor, this "seed", "row" or "dataset". The training that a kept
            cell evaluates is kept as well.

    Raises:
        UserError: A name is unknown, or no cell is left.
    """
    only = only or {}
    names = [*study.factors, "seed", "row", *(["dataset"] if study.datasets else [])]
    if unknown := [name for name in only if name not in names]:
        raise UserError(f"--only: {study.path} has no factor {join(unknown)}; expected one of {join(names)}")
    groups = []
    for cells in study.cell_groups:
        kept = [cell for cell in cells if only.items() <= _traits(cell).items()]
        if kept:
            groups.append(CellGroup(study, kept if kept[0] is cells[0] else [cells[0], *kept], runs, options))
    if not groups:
        levels = join(f"{name}={value}" for name, value in only.items())
        raise UserError(f"--only: no cell of {study.path} has {levels}; --dry-run lists the cells")
    return groups


def _traits(cell: Cell) -> dict[str, str]:
    dataset = {} if cell.dataset is None else {"dataset": cell.dataset}
    return {**cell.levels, **dataset, "seed": str(cell.seed), "row": row_name(cell.levels)}
