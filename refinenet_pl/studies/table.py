"""The table that is shown while a study runs."""

import csv
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from refinenet_pl.files import read_json
from refinenet_pl.studies.commands import CellGroup
from refinenet_pl.studies.folders import CellFolder
from refinenet_pl.studies.pool import Progress
from refinenet_pl.text import duration, percent


class LiveTable:
    """Shows each cell's state: as a table that changes in place, or as lines where the output is no terminal.

    Args:
        cell_groups: Of the study.
    """

    def __init__(self, cell_groups: Sequence[CellGroup]) -> None:
        self.cell_groups = cell_groups
        self.console = Console()
        self.live = Live(console=self.console, auto_refresh=False)
        self.states: dict[str, str] = {}

    def __enter__(self) -> "LiveTable":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def update(self, progress: Progress) -> None:
        """Show the state of things."""
        if self.console.is_terminal:
            self.live.update(table(self.cell_groups, progress), refresh=True)
            return
        for training in self.cell_groups:
            for cell in training.cells:
                now = state(training.folder(cell), cell.name, progress)
                if self.states.get(cell.name) != now[0]:
                    self.states[cell.name] = now[0]
                    self.console.print(f"{cell.name}: {', '.join(word for word in now if word)}", soft_wrap=True)


def table(cell_groups: Sequence[CellGroup], progress: Progress) -> Table:
    """A row a cell: its levels and seed, its state, how far it is, and how good."""
    study = cell_groups[0].study
    shown = Table(*study.factors, "seed", "state", "progress", "val mIoU %", "time", title=study.name)
    for training in cell_groups:
        for cell in training.cells:
            words = state(training.folder(cell), cell.name, progress)
            shown.add_row(*cell.levels.values(), str(cell.seed), *words, style=STYLES.get(words[0]))
    return shown


STYLES = {"finished": "green", "failed": "red", "running": "bold"}


def state(folder: CellFolder, name: str, progress: Progress) -> tuple[str, str, str, str]:
    """Of a cell: its state, how far it is or what went wrong, its mean IoU, and how long it has been running or ran."""
    if folder.finished is not None:
        return "finished", "", *_outcome(folder.finished / "results.json")
    step, miou = _newest_figures(folder.runs[-1] / "metrics.csv") if folder.runs else ("", "")
    if name in progress.running:
        return "running", step, miou, duration(time.time() - progress.running[name])
    if name in progress.failed:
        return "failed", progress.failed[name], "", ""
    return ("stopped" if folder.unfinished else "waiting"), step, miou, ""


@cache  # the table is drawn twice a second, and a finished run does not change
def _outcome(path: Path) -> tuple[str, str]:
    """The mean IoU in percent, and how long it took."""
    results = read_json(path, "move that run away, and the cell is run again")
    return percent(results["miou"]), duration(results["seconds"])


def _newest_figures(path: Path) -> tuple[str, str]:
    """The last step, and the last validation's mean IoU in percent, that a run has logged."""
    step, miou = "", ""
    if path.is_file():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                step = row.get("step") or step
                miou = row.get("val/miou") or miou
    return f"step {step}" if step else "", percent(float(miou)) if miou else ""
