"""How long a study will take, from the first seconds of each of its cell_groups."""

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from refinenet_pl.studies.commands import CellGroup

SECONDS = 20
"""How long each trial trains; some steps more than the few that warm up."""


@dataclass(frozen=True)
class Estimate:
    """What a trial says of one training.

    Attributes:
        seconds: Of the whole training with its validations; None if the trial failed.
        words: How that comes about, or why there is none.
    """

    seconds: float | None
    words: str


def estimates(cell_groups: Sequence[CellGroup]) -> dict[str, Estimate]:
    """Try each row once, whatever its seeds, on this machine; by the name of each training's first cell."""
    tried: dict[str, Estimate] = {}
    with tempfile.TemporaryDirectory() as folder:
        for training in track(cell_groups, "trying each row", transient=True):
            levels = str(training.cells[0].levels)
            if levels not in tried:
                tried[levels] = _try(training, Path(folder))
    return {training.cells[0].name: tried[str(training.cells[0].levels)] for training in cell_groups}


def _try(training: CellGroup, folder: Path) -> Estimate:
    cell = training.cells[0]
    elsewhere = CellGroup(training.study, [cell], folder, training.options)
    limit = [f"--trainer.max_time=00:00:00:{SECONDS}", "--trainer.logger=false"]
    begun = time.perf_counter()
    done = subprocess.run([*elsewhere.command(cell), *limit], capture_output=True, text=True, check=False)
    costs = next(elsewhere.folder(cell).path.glob("*/costs.json"), None)
    if done.returncode or costs is None:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return Estimate(None, f"the trial failed: {lines[-1] if lines else f'exit status {done.returncode}'}")
    figures = json.loads(costs.read_text())
    steps, step = figures["planned_steps"], figures["seconds_per_step"]
    if step is None:
        return Estimate(None, f"no step of the optimizer ended within {SECONDS} s")
    images = figures["planned_validation_images"] or 0
    image = figures["seconds_per_validation_image"] or 0.0
    start = time.perf_counter() - begun - figures["seconds"]
    words = f"{start:.0f} s to start, {steps} steps of {step:.2f} s, {images} validation images of {image:.2f} s"
    return Estimate(start + steps * step + images * image, words)
