"""The table that is shown while a study runs."""

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table

from refinenet_pl.progress import can_redraw
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.commands import CellGroup
from refinenet_pl.studies.folders import CellFolder
from refinenet_pl.studies.pool import Progress
from refinenet_pl.text import duration, join, percent

STYLES = {"finished": "green", "failed": "red", "running": "bold"}


class LiveTable:
    """Shows the state of each cell: in a terminal as a live table, elsewhere as lines.

    There is a line for each change of a state, each validation, and each tenth of a training.

    Args:
        groups: The cells.
    """

    def __init__(self, groups: Sequence[CellGroup]) -> None:
        self.groups = groups
        self.console = Console(highlight=False)
        self.redraws = can_redraw(self.console)
        self.live = Live(console=self.console, auto_refresh=False)
        self.told: dict[str, tuple[str, str, int]] = {}

    def __enter__(self) -> "LiveTable":
        if self.redraws:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.redraws:
            self.live.stop()

    def update(self, progress: Progress) -> None:
        """Show the current state."""
        if self.redraws:
            self.live.update(table(self.groups, progress), refresh=True)
            return
        for group in self.groups:
            for cell in group.cells:
                state = cell_state(group.folder(cell), cell.name, progress)
                told = (state.name, state.miou, state.tenths)
                if self.told.get(cell.name) != told:
                    self.told[cell.name] = told
                    miou = f"val mIoU {state.miou} %" if state.miou else ""
                    words = (state.name, state.progress, miou, state.time)
                    self.console.print(f"{cell.name}: {join(filter(None, words))}", soft_wrap=True)


def table(groups: Sequence[CellGroup], progress: Progress) -> Table:
    """Return a table with one row per cell: dataset, levels, seed, state, progress, metric and time."""
    study = groups[0].study
    dataset_heading = ["dataset"] if study.datasets else []
    shown = Table(*dataset_heading, *study.factors, "seed", "state", "progress", "val mIoU %", "time", title=study.name)
    for group in groups:
        for cell in group.cells:
            state = cell_state(group.folder(cell), cell.name, progress)
            dataset = [cell.dataset] if cell.dataset else []
            columns = (state.name, state.progress, state.miou, state.time)
            shown.add_row(*dataset, *cell.levels.values(), str(cell.seed), *columns, style=STYLES.get(state.name))
    return shown


class State(NamedTuple):
    """What is shown of a cell.

    Attributes:
        name: Such as "running".
        progress: Its step and the time left, or why it failed.
        miou: Mean IoU of its last validation in percent.
        time: How long it took so far.
        tenths: How much of it is done, 0..10, while it runs.
    """

    name: str
    progress: str = ""
    miou: str = ""
    time: str = ""
    tenths: int = 0


def cell_state(folder: CellFolder, name: str, progress: Progress) -> State:
    """Return the state of a cell."""
    if folder.finished is not None:
        return State("finished", "", *_outcome(folder.finished))
    position, miou = _position(folder.runs[-1]) if folder.runs else (Position(), "")
    if name in progress.running:
        seconds = time.time() - progress.running[name]
        words = join(filter(None, (position.words, position.time_left(seconds))))
        return State("running", words, miou, duration(seconds), position.tenths)
    if name in progress.failed:
        return State("failed", progress.failed[name])
    if name in progress.elsewhere:
        return State("running elsewhere", position.words, miou)
    return State("stopped" if folder.resumable else "waiting", position.words, miou)


@dataclass(frozen=True)
class Position:
    """How far a training is.

    Attributes:
        step: Optimizer steps taken; 0 if none was logged.
        first: Steps taken before its newest part started.
        planned: Steps of the whole run; None if it is not known, or unlimited.
    """

    step: int = 0
    first: int = 0
    planned: int | None = None

    @property
    def words(self) -> str:
        """The step, and the number of planned steps."""
        if not self.step:
            return ""
        return f"step {self.step:,}" if self.planned is None else f"step {self.step:,} of {self.planned:,}"

    @property
    def tenths(self) -> int:
        """How many tenths of the planned steps are taken."""
        return 10 * self.step // self.planned if self.planned else 0

    def time_left(self, seconds: float) -> str:
        """Estimate the time that is left, if the newest part took `seconds` so far."""
        if self.planned is None or self.step <= self.first:
            return ""
        return f"{duration(seconds / (self.step - self.first) * (self.planned - self.step))} left"


@cache  # the table is drawn twice a second, and a finished run does not change
def _outcome(run: RunFolder) -> tuple[str, str]:
    """Return the mean IoU in percent, and the duration."""
    results = run.read_results()
    return percent(results.get("miou")), duration(results.get("seconds"))


def _position(run: RunFolder) -> tuple[Position, str]:
    """Return how far a run is, and the mean IoU of its last validation in percent."""
    step, miou = 0, ""
    if run.metrics.is_file():
        with run.metrics.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                if (row.get("step") or "").isdecimal() and not row.get("final/miou"):
                    step = int(row["step"]) + 1
                miou = row.get("val/miou") or miou
    part = (run.read_history() or {"parts": [{}]})["parts"][-1]
    return Position(step, part.get("step") or 0, part.get("planned_steps")), percent(float(miou)) if miou else ""
