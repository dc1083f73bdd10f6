"""The table that is shown while a study runs."""

import csv
import time
from collections.abc import Sequence
from functools import cache

from rich.console import Console
from rich.live import Live
from rich.table import Table

from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.commands import CellGroup
from refinenet_pl.studies.folders import CellFolder
from refinenet_pl.studies.pool import Progress
from refinenet_pl.text import duration, percent

STYLES = {"finished": "green", "failed": "red", "running": "bold"}


class LiveTable:
    """Shows the state of each cell: as a live table in a terminal, as one line per change elsewhere.

    Args:
        groups: The cells.
    """

    def __init__(self, groups: Sequence[CellGroup]) -> None:
        self.groups = groups
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
        """Show the current state."""
        if self.console.is_terminal:
            self.live.update(table(self.groups, progress), refresh=True)
            return
        for group in self.groups:
            for cell in group.cells:
                state = cell_state(group.folder(cell), cell.name, progress)
                if self.states.get(cell.name) != state[0]:
                    self.states[cell.name] = state[0]
                    self.console.print(f"{cell.name}: {', '.join(word for word in state if word)}", soft_wrap=True)


def table(groups: Sequence[CellGroup], progress: Progress) -> Table:
    """Return a table with one row per cell: dataset, levels, seed, state, progress, metric and time."""
    study = groups[0].study
    dataset_heading = ["dataset"] if study.datasets else []
    shown = Table(*dataset_heading, *study.factors, "seed", "state", "progress", "val mIoU %", "time", title=study.name)
    for group in groups:
        for cell in group.cells:
            state = cell_state(group.folder(cell), cell.name, progress)
            dataset = [cell.dataset] if cell.dataset else []
            shown.add_row(*dataset, *cell.levels.values(), str(cell.seed), *state, style=STYLES.get(state[0]))
    return shown


def cell_state(folder: CellFolder, name: str, progress: Progress) -> tuple[str, str, str, str]:
    """Return the state of a cell, its progress or failure, its mean IoU, and its time."""
    if folder.finished is not None:
        return "finished", "", *_outcome(folder.finished)
    step, miou = _newest_metrics(folder.runs[-1]) if folder.runs else ("", "")
    if name in progress.running:
        return "running", step, miou, duration(time.time() - progress.running[name])
    if name in progress.failed:
        return "failed", progress.failed[name], "", ""
    if name in progress.elsewhere:
        return "running elsewhere", step, miou, ""
    return ("stopped" if folder.resumable else "waiting"), step, miou, ""


@cache  # the table is drawn twice a second, and a finished run does not change
def _outcome(run: RunFolder) -> tuple[str, str]:
    """Return the mean IoU in percent, and the duration."""
    results = run.read_results()
    return percent(results.get("miou")), duration(results.get("seconds"))


def _newest_metrics(run: RunFolder) -> tuple[str, str]:
    """Return the last logged step, and the mean IoU of the last validation in percent."""
    step, miou = "", ""
    if run.metrics.is_file():
        with run.metrics.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                step = row.get("step") or step
                miou = row.get("val/miou") or miou
    return f"step {step}" if step else "", percent(float(miou)) if miou else ""
