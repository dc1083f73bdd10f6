"""Times several tasks in turn, so that a change of the machine's speed meets all of them alike."""

import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from refinenet_pl.data.parallel import usable_cpus
from refinenet_pl.progress import track


@dataclass(frozen=True)
class Timing:
    """The seconds of the repeats of one task."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile; of a single repeat, its seconds twice."""
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third


def time_in_turn(
    tasks: Mapping[str, Callable[[], object]], repeats: int, device: str, description: str = "measuring"
) -> dict[str, Timing]:
    """Run the tasks in turn (A B A B ...), once to warm up and then `repeats` times.

    Args:
        tasks: What to time, by name.
        repeats: Number of timed runs of each task.
        device: The device that the tasks use. It has finished when a clock is read.
        description: What the progress bar says.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    with track(range(repeats + 1), description) as rounds:
        for index in rounds:
            for name, task in tasks.items():
                wait_for(device)
                start = time.perf_counter()
                task()
                wait_for(device)
                if index:
                    seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def wait_for(device: str) -> None:
    """Wait until a device has finished its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()


SPARE = 0.25
"""Load that a command before this one may have left."""


def is_busy() -> bool:
    """Return whether other work kept the CPUs busy in the last minute."""
    load, cpus = os.getloadavg()[0], usable_cpus()
    return load > max(cpus - torch.get_num_threads(), cpus / 2) + SPARE


def warn_if_busy() -> bool:
    """Return whether other work kept the CPUs busy in the last minute, and then print a warning."""
    if not is_busy():
        return False
    load, cpus = os.getloadavg()[0], usable_cpus()
    print(
        f"warning: the machine is busy (load {load:.1f} on {cpus} CPUs): compare ratios, not seconds", file=sys.stderr
    )
    return True
