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
from refinenet_pl.studies.commands import Training
from refinenet_pl.studies.folders import CellFolder
from refinenet_pl.studies.pool import Progress


class LiveTable:
    """Shows each cell's state: as a table that changes in place, or as lines where the output is no terminal.

    Args:
        trainings: Of the study.
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        self.trainings = trainings
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
            self.live.update(table(self.trainings, progress), refresh=True)
            return
        for training in self.trainings:
            for cell in training.cells:
                now = state(training.folder(cell), cell.name, progress)
                if self.states.get(cell.name) != now[0]:
                    self.states[cell.name] = now[0]
                    self.console.print(f"{cell.name}: {', '.join(word for word in now if word)}", soft_wrap=True)


def table(trainings: Sequence[Training], progress: Progress) -> Table:
    """A row a cell: its levels and seed, its state, how far it is, and how good."""
    study = trainings[0].study
    shown = Table(*study.factors, "seed", "state", "progress", "val mIoU %", "time", title=study.name)
    for training in trainings:
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
    """The mean IoU in per cent, and how long it took."""
    results = read_json(path, "move that run away, and the cell is run again")
    return _percent(results["miou"]), duration(results["seconds"])


def _newest_figures(path: Path) -> tuple[str, str]:
    """The last step, and the last validation's mean IoU in per cent, that a run has logged."""
    step, miou = "", ""
    if path.is_file():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                step = row.get("step") or step
                miou = row.get("val/miou") or miou
    return f"step {step}" if step else "", _percent(float(miou)) if miou else ""


def duration(seconds: float | None) -> str:
    """Seconds in words; a question mark where they are unknown."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _percent(value: float | None) -> str:
    # Not evaluation's, with which torchmetrics and torchvision would be imported: seconds, before there is a table.
    return "–" if value is None else f"{100 * value:.2f}"
