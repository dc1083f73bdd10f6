"""Estimates how long a study takes, from the first seconds of each training."""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from refinenet_pl.progress import track
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.commands import CellGroup

SECONDS = 20
"""Training time of each trial. It leaves some steps after the first ones, which are slower."""


@dataclass(frozen=True)
class Estimate:
    """The result of one trial.

    Attributes:
        seconds: Estimated time of the whole training with its validations; None if the trial failed.
        words: How the estimate is made up, or why there is none.
    """

    seconds: float | None
    words: str


def estimates(groups: Sequence[CellGroup]) -> dict[str, Estimate]:
    """Try each row once on this machine, whatever its seeds; return estimates by the name of each first cell."""
    tried: dict[str, Estimate] = {}
    with tempfile.TemporaryDirectory() as folder, track(groups, "trying each row") as tracked:
        for group in tracked:
            row = group.cells[0].row
            if row not in tried:
                tried[row] = _try(replace(group, cells=group.cells[:1], runs=Path(folder)))
    return {group.cells[0].name: tried[group.cells[0].row] for group in groups}


def _try(group: CellGroup) -> Estimate:
    cell = group.cells[0]
    limits = [f"--trainer.max_time=00:00:00:{SECONDS}", "--trainer.logger=false"]
    start = time.perf_counter()
    done = subprocess.run([*group.command(cell), *limits], capture_output=True, text=True, check=False)
    costs = next((costs for run in group.folder(cell).path.glob("*/") if (costs := RunFolder(run).read_costs())), None)
    if done.returncode or costs is None:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return Estimate(None, f"the trial failed: {lines[-1] if lines else f'exit status {done.returncode}'}")
    steps, step_seconds = costs["planned_steps"], costs["seconds_per_step"]
    if step_seconds is None:
        return Estimate(None, f"no optimizer step ended within {SECONDS} s")
    images = costs["planned_validation_images"] or 0
    image_seconds = costs["seconds_per_validation_image"] or 0.0
    startup = time.perf_counter() - start - costs["seconds"]
    words = (
        f"{startup:.0f} s startup, {steps} steps of {step_seconds:.2f} s, {images} validation images of "
        f"{image_seconds:.2f} s"
    )
    return Estimate(startup + steps * step_seconds + images * image_seconds, words)
