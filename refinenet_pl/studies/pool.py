"""Runs the cells of a study on the devices of this machine, one process per device at most."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from refinenet_pl.errors import UserError
from refinenet_pl.locks import try_lock
from refinenet_pl.studies.commands import CellGroup
from refinenet_pl.studies.study import Cell

POLL_SECONDS = 0.5


@dataclass
class Progress:
    """The state of the cells, by name.

    Attributes:
        running: Start of each running cell's process, in seconds since the epoch.
        failed: Message of each failed cell.
        elsewhere: Cells that another `study run` works on.
    """

    running: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)


@dataclass
class CellProcess:
    """A process that works on a cell."""

    group: CellGroup
    cell: Cell
    devices: list[str]
    process: subprocess.Popen[bytes]


class Pool:
    """Processes on the devices of this machine.

    A process holds a lock on its cell's folder while it lives. Two `study run`s share the cells: each leaves locked
    cells to the other, and takes those that the other did not finish.

    Args:
        devices: Numbers of the GPUs, or "cpu" once for each process at a time.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self.free = list(devices)
        self.size = len(devices)
        self.processes: list[CellProcess] = []
        self.progress = Progress()

    def run(self, groups: Sequence[CellGroup], on_change: Callable[[Progress], None]) -> Progress:
        """Work until every cell has finished or failed.

        Args:
            groups: The cells to run, in this order.
            on_change: Called with the progress about twice a second.

        Raises:
            UserError: A training needs more devices than there are.
        """
        for group in groups:
            if group.devices > self.size or group.nodes > 1:
                raise UserError(
                    f"{group.cells[0].name} needs {group.nodes} x {group.devices} devices, but only {self.size} are "
                    "used here; lower trainer.devices, raise --devices, or use --launcher slurm"
                )
        waiting = list(groups)
        try:
            while waiting or self.processes:
                self._collect(waiting)
                self._start(waiting)
                on_change(self.progress)
                time.sleep(POLL_SECONDS)
        finally:
            self._stop()
        on_change(self.progress)
        return self.progress

    def _start(self, waiting: list[CellGroup]) -> None:
        """Start groups on the free devices, in order."""
        for group in list(waiting):
            if group.devices <= len(self.free):  # checked first, because next_cell reads the disk
                cell = group.next_cell()
                if cell is None or self._start_cell(group, cell):
                    waiting.remove(group)

    def _start_cell(self, group: CellGroup, cell: Cell) -> bool:
        """Start a cell, or record why it fails; return False if another process works on it."""
        folder = group.folder(cell)
        folder.path.mkdir(parents=True, exist_ok=True)
        with folder.lock.open("a") as lock, folder.log.open("ab") as log:
            if not try_lock(lock):
                self.progress.elsewhere.add(cell.name)
                return False
            self.progress.elsewhere.discard(cell.name)
            try:
                command = group.command(cell)
            except UserError as error:  # the checkpoint to evaluate is missing; other cells can run
                self.progress.failed[cell.name] = str(error)
                return True
            devices = [self.free.pop(0) for _ in range(group.devices)]
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment(devices),
                pass_fds=[lock.fileno()],
                start_new_session=True,  # only this process receives Ctrl-C; it stops the others
            )
        self.processes.append(CellProcess(group, cell, devices, process))
        self.progress.running[cell.name] = time.time()
        return True

    def _environment(self, devices: list[str]) -> dict[str, str]:
        if devices[0] != "cpu":
            return {"CUDA_VISIBLE_DEVICES": ",".join(devices)}
        return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.size))} if self.size > 1 else {}

    def _collect(self, waiting: list[CellGroup]) -> None:
        """Record the processes that ended. A group with more cells moves to the front of the queue."""
        for ended in [process for process in self.processes if process.process.poll() is not None]:
            self.processes.remove(ended)
            self.free += ended.devices
            del self.progress.running[ended.cell.name]
            folder = ended.group.folder(ended.cell)
            if folder.finished is not None:
                waiting.insert(0, ended.group)
            else:
                status = f"exit status {ended.process.returncode}"
                self.progress.failed[ended.cell.name] = failure_message(status, folder.log)

    def _stop(self) -> None:
        """Stop the running processes, as Ctrl-C asks for. Their cells resume from the last checkpoint later."""
        for running in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGTERM)
        for running in self.processes:
            running.process.wait()


def failure_message(event: str, log: Path) -> str:
    """Return the event, the log's path, and the log's text from its last error on, or else its last line."""
    lines = (log.read_text(encoding="utf-8", errors="replace") if log.is_file() else "").strip().splitlines() or [
        "empty"
    ]
    errors = [index for index, line in enumerate(lines) if "error:" in line.lower()]
    text = " ".join(line.strip() for line in lines[errors[-1] if errors else -1 :])
    return f"{event}, {log}: {text[:500]}"
