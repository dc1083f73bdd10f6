"""The job of a cell group on a cluster: it finishes the unfinished cells in order."""

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from submitit import JobEnvironment
from submitit.helpers import Checkpointable

from refinenet_pl.errors import UserError
from refinenet_pl.locks import LOCKED, try_lock
from refinenet_pl.studies.commands import CellGroup
from refinenet_pl.studies.pool import failure_message
from refinenet_pl.studies.study import Cell

RESULTS_SECONDS = 120
"""How long to wait for results. A shared file system shows the files of another machine with a delay."""
ENDED_FROM_OUTSIDE = (0, -signal.SIGTERM, 128 + signal.SIGTERM)
"""Exit statuses of a training after SIGTERM, with its checkpoint or without. 0 comes without results then."""


@dataclass
class CellGroupJob(Checkpointable):
    """Finishes the cells of a group. Every task of the job runs it, with one task per GPU.

    All tasks run the same commands. Lightning reads the rank of each process from the environment. After a timeout or
    a preemption the same job is queued again (`Checkpointable`). It then finds the unfinished cells anew, and an
    interrupted training resumes from its last checkpoint.

    Attributes:
        group: The cells to finish.
    """

    group: CellGroup

    def __call__(self) -> None:
        """Work until every cell is finished.

        Raises:
            UserError: A cell failed. Later cells do not start.
            SystemExit: SLURM is ending the job. SLURM decides whether it is queued again.
        """
        # All tasks must work on the same cells. They list them once, before their first collective operation, because
        # no cell can finish without all of them.
        for cell in [cell for cell in self.group.cells if self.group.folder(cell).finished is None]:
            status = self._run(cell)
            if status == 0 and self._has_results(cell):
                continue
            if status in ENDED_FROM_OUTSIDE:
                sys.exit(128 + signal.SIGTERM)
            raise UserError(failure_message(f"exit status {status}", self.group.folder(cell).log))

    def _run(self, cell: Cell) -> int:
        """Run the command of a cell and return its exit status.

        The process of the first task holds the cell's lock and writes the cell's log. The other tasks print to their
        own files of the job, because not every shared file system lets two machines append to one file.
        """
        folder = self.group.folder(cell)
        words = self.group.command(cell)
        with ExitStack() as files:
            streams: dict[str, Any] = {}
            if JobEnvironment().global_rank == 0:
                lock = files.enter_context(folder.lock.open("a"))
                if not try_lock(lock):
                    raise UserError(f"{folder.path}: {LOCKED}")
                log = files.enter_context(folder.log.open("ab"))
                streams = {"stdout": log, "stderr": log, "pass_fds": [lock.fileno()]}
            process = _start_without_requeue_signal(words, **streams)
            try:
                return process.wait()
            finally:
                process.kill()

    def _has_results(self, cell: Cell) -> bool:
        """Wait for the results. The first task writes them, possibly after the other tasks have ended."""
        for _ in range(RESULTS_SECONDS):
            if self.group.folder(cell).finished is not None:
                return True
            time.sleep(1)
        return False


def _start_without_requeue_signal(words: list[str], **streams: Any) -> subprocess.Popen[bytes]:
    """Start a process that does not receive the signal before a timeout or a preemption.

    SLURM sends the signal to every process of the job, and it ends processes that do not handle it. Only submitit, in
    the parent process, must handle it: it queues the job again and ends this process. Lightning would queue the job as
    well, at SIGUSR1, where submitit asks SLURM for SIGUSR2. If SUBMITIT_PREEMPT_SIGNAL makes the signals equal,
    Lightning still does not receive it.
    """
    requeue_signal = {signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]}
    signal.pthread_sigmask(signal.SIG_BLOCK, requeue_signal)
    try:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, **streams)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, requeue_signal)
