"""What a study runs: `refinenet` itself, as a user would, in a process for each cell."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import yaml

from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.studies.folders import CellFolder, cell_folder
from refinenet_pl.studies.study import Cell, Study, row_name

REFINENET = [sys.executable, "-m", "refinenet_pl"]


@dataclass(frozen=True)
class CellGroup:
    """One training of a study, and the cells that it makes.

    Attributes:
        study: The study.
        cells: The first is trained; the others evaluate its best checkpoint in their own ways.
        runs: The folder under which all runs lie.
        options: Of `refinenet fit`, after those of the cells; for what differs from machine to machine.
    """

    study: Study
    cells: Sequence[Cell]
    runs: Path
    options: Sequence[str] = ()

    def folder(self, cell: Cell) -> CellFolder:
        """Where a cell lies."""
        return cell_folder(self.runs, self.study, cell)

    @property
    def devices(self) -> int:
        """How many devices of a machine it takes."""
        return self._number_in_trainer("devices")

    @property
    def nodes(self) -> int:
        """How many machines it takes."""
        return self._number_in_trainer("num_nodes")

    def _number_in_trainer(self, key: str) -> int:
        number = self.cells[0].config.get("trainer", {}).get(key, 1)
        for word, following in pairwise([*self.options, ""]):
            name, equals, value = word.partition("=")
            if name == f"--trainer.{key}":
                number = value if equals else following
        return int(number) if str(number).isdecimal() else 1  # "auto" is one

    def next_cell(self) -> Cell | None:
        """The first cell that is not finished, if there is one."""
        return next((cell for cell in self.cells if self.folder(cell).finished is None), None)

    def command(self, cell: Cell) -> list[str]:
        """The words of the command that finishes a cell: from the start, from its last checkpoint, or by evaluation.

        The cell's experiment, which the command reads, is written first.

        Raises:
            UserError: The cell's training has left no checkpoint to evaluate.
        """
        folder = self.folder(cell)
        with atomic_write(folder.experiment) as file:
            file.write_text(yaml.safe_dump(cell.config, sort_keys=False))
        fresh = ["--config", folder.experiment, "--runs", folder.path.parent, "--experiment", cell.name]
        if cell is not self.cells[0]:
            words = ["validate", *fresh, "--ckpt_path", self._trained()]
        elif folder.unfinished is not None:
            words = ["fit", "--ckpt_path", folder.unfinished / "checkpoints" / "last.ckpt"]
        else:
            words = ["fit", *fresh]
        numbers = [f"--trainer.devices={self.devices}", f"--trainer.num_nodes={self.nodes}"]
        return [*REFINENET, *map(str, words), "--trainer.enable_progress_bar=false", *numbers, *self.options]

    def _trained(self) -> Path:
        finished = self.folder(self.cells[0]).finished
        checkpoint = finished and finished / "checkpoints" / "best.ckpt"
        if checkpoint is None or not checkpoint.is_file():
            raise UserError(
                f"{self.folder(self.cells[0]).path}: no best.ckpt of a finished run, which is to be evaluated"
            )
        return checkpoint


def cell_groups(
    study: Study, runs: Path, options: Sequence[str], only: Mapping[str, str] | None = None
) -> list[CellGroup]:
    """The cell_groups of a study, in its order.

    Args:
        study: The study.
        runs: The folder under which all runs lie.
        options: Of `refinenet fit`.
        only: Takes cells with this level of a factor, this "seed" or this "row" alone; what they are evaluated from is
            trained as well.

    Raises:
        UserError: No cell is like that.
    """
    only = only or {}
    if unknown := only.keys() - {*study.factors, "seed", "row"}:
        raise UserError(f"no factor {', '.join(unknown)}; expected {', '.join([*study.factors, 'seed', 'row'])}")
    found = []
    for cells in study.cell_groups:
        taken = [cell for cell in cells if only.items() <= _traits(cell).items()]
        if taken:
            found.append(CellGroup(study, taken if taken[0] is cells[0] else [cells[0], *taken], runs, options))
    if not found:
        raise UserError(f"no cell of {study.name} has {', '.join(f'{name}={value}' for name, value in only.items())}")
    return found


def _traits(cell: Cell) -> dict[str, str]:
    return {**cell.levels, "seed": str(cell.seed), "row": row_name(cell.levels)}
