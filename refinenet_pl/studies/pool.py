"""Runs the cells of a study on the devices of this machine, several at a time if there are several devices."""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from refinenet_pl.errors import UserError
from refinenet_pl.studies.commands import CellGroup
from refinenet_pl.studies.study import Cell

POLL_SECONDS = 0.5


@dataclass
class Progress:
    """What became of each cell, by its name.

    Attributes:
        running: When each running cell's process was started, in seconds since the epoch.
        failed: Why each failed cell failed.
    """

    running: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass
class Running:
    """A process that works on a cell."""

    training: CellGroup
    cell: Cell
    devices: list[str]
    process: subprocess.Popen[bytes]


class Pool:
    """Processes, at most one a device.

    A process holds a lock on its cell's folder for as long as it lives, so that a second `study run` leaves alone what
    the first, or a process that outlived it, is at.

    Args:
        devices: Names of the devices: GPUs by number, or "cpu" once for each process at a time.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self.free = list(devices)
        self.size = len(devices)
        self.running: list[Running] = []
        self.progress = Progress()

    def run(self, cell_groups: Sequence[CellGroup], on_change: Callable[[Progress], None]) -> Progress:
        """Work until every cell is finished or has failed.

        Args:
            cell_groups: What to run, in this order.
            on_change: Called with the state of things again and again.

        Raises:
            UserError: A training needs more devices than there are.
        """
        for training in cell_groups:
            if training.devices > self.size or training.nodes > 1:
                raise UserError(
                    f"{training.cells[0].name} needs {training.nodes} x {training.devices} devices, but this machine "
                    f"gives {self.size}; lower trainer.devices, or use --launcher slurm"
                )
        waiting = list(cell_groups)
        try:
            while waiting or self.running:
                self._collect(waiting)
                self._start(waiting)
                on_change(self.progress)
                time.sleep(POLL_SECONDS)
        finally:
            self._stop()
        on_change(self.progress)
        return self.progress

    def _start(self, waiting: list[CellGroup]) -> None:
        """Start what fits on the free devices, in order."""
        for training in list(waiting):
            if training.devices <= len(self.free):  # first, as the next cell is looked up on the disk
                waiting.remove(training)
                if (cell := training.next_cell()) is not None:
                    self._begin(training, cell)

    def _begin(self, training: CellGroup, cell: Cell) -> None:
        folder = training.folder(cell)
        folder.path.mkdir(parents=True, exist_ok=True)
        with (folder.path / "lock").open("a") as lock, folder.log.open("ab") as log:
            if not try_lock(lock):
                self.progress.failed[cell.name] = "another process is at it"
                return
            try:
                command = training.command(cell)
            except UserError as error:  # what is to be evaluated is gone; others may go on
                self.progress.failed[cell.name] = str(error)
                return
            devices = [self.free.pop(0) for _ in range(training.devices)]
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment(devices),
                pass_fds=[lock.fileno()],
                start_new_session=True,  # Ctrl-C reaches us alone, who then stop it
            )
        self.running.append(Running(training, cell, devices, process))
        self.progress.running[cell.name] = time.time()

    def _environment(self, devices: list[str]) -> dict[str, str]:
        if devices[0] != "cpu":
            return {"CUDA_VISIBLE_DEVICES": ",".join(devices)}
        return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.size))} if self.size > 1 else {}

    def _collect(self, waiting: list[CellGroup]) -> None:
        """Take note of the processes that ended; a training with further cells goes to the front."""
        for running in [running for running in self.running if running.process.poll() is not None]:
            self.running.remove(running)
            self.free += running.devices
            del self.progress.running[running.cell.name]
            folder = running.training.folder(running.cell)
            if folder.finished is not None:
                waiting.insert(0, running.training)
            else:
                self.progress.failed[running.cell.name] = failure_message(
                    f"exit status {running.process.returncode}", folder.log
                )

    def _stop(self) -> None:
        """End what still runs, as Ctrl-C asks for; it goes on from its last checkpoint some other time."""
        for running in self.running:
            with suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGTERM)
        for running in self.running:
            running.process.wait()


def try_lock(file: IO[str]) -> bool:
    """Take the lock of an open file, held until the file is closed here and in the processes that it was handed to.

    Returns:
        Whether it is ours now; otherwise another process has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def failure_message(what: str, log: Path) -> str:
    """What happened, and what the log says from its last error on, or else in its last line."""
    lines = (log.read_text(errors="replace") if log.is_file() else "").strip().splitlines() or ["empty"]
    errors = [place for place, line in enumerate(lines) if "error:" in line.lower()]
    told = " ".join(line.strip() for line in lines[errors[-1] if errors else -1 :])
    return f"{what}, {log}: {told[:500]}"
