"""What a job of a cluster does: the unfinished cells of one training, in order."""

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
from refinenet_pl.studies.commands import CellGroup
from refinenet_pl.studies.pool import failure_message, try_lock
from refinenet_pl.studies.study import Cell

RESULTS_SECONDS = 120
"""For how long to look for results: a file system that machines share shows what another wrote only after a while."""
ENDED_FROM_OUTSIDE = (0, -signal.SIGTERM, 128 + signal.SIGTERM)
"""How a training ends at SIGTERM: Lightning's status is 0 or 143, by its version; 0 comes with no results then."""


@dataclass
class CellGroupJob(Checkpointable):
    """Finishes the cells of a training; every task of its job does so at once, one task a GPU.

    All tasks run the same commands, and Lightning reads from the environment which process of the training each is.
    A job whose time is up, or that others push aside, is queued again as it is (`Checkpointable`). What is left to do
    is decided anew then, and a training goes on from its last finished epoch.

    Attributes:
        training: What to finish.
    """

    training: CellGroup

    def __call__(self) -> None:
        """Work until every cell is finished.

        Raises:
            UserError: A cell failed; those after it are not begun.
            SystemExit: SLURM is ending the job. Whether it comes back is for SLURM to tell, and not for a result file.
        """
        # Decided once and before the tasks first meet, so that all decide alike: no cell is finished without them all.
        for cell in [cell for cell in self.training.cells if self.training.folder(cell).finished is None]:
            status = self._run(cell)
            if status == 0 and self._has_results(cell):
                continue
            if status in ENDED_FROM_OUTSIDE:
                sys.exit(128 + signal.SIGTERM)
            raise UserError(failure_message(f"exit status {status}", self.training.folder(cell).log))

    def _run(self, cell: Cell) -> int:
        """Run a cell's command; its exit status.

        The first task's process holds the cell's lock and writes the cell's log. What the others print goes to the
        files that each has among the job's, since not all shared file systems let two machines append to one file.
        """
        folder = self.training.folder(cell)
        words = self.training.command(cell)
        with ExitStack() as files:
            streams: dict[str, Any] = {}
            if JobEnvironment().global_rank == 0:
                lock = files.enter_context((folder.path / "lock").open("a"))
                if not try_lock(lock):
                    raise UserError(f"{folder.path}: another process is at it")
                log = files.enter_context(folder.log.open("ab"))
                streams = {"stdout": log, "stderr": log, "pass_fds": [lock.fileno()]}
            process = _start_deaf_to_requeueing(words, **streams)
            try:
                return process.wait()
            finally:
                process.kill()

    def _has_results(self, cell: Cell) -> bool:
        """Whether the results are there, which the first task writes, perhaps after the others have ended."""
        for _ in range(RESULTS_SECONDS):
            if self.training.folder(cell).finished is not None:
                return True
            time.sleep(1)
        return False


def _start_deaf_to_requeueing(words: list[str], **streams: Any) -> subprocess.Popen[bytes]:
    """Start a process that does not receive the signal with which SLURM announces the end of a job's time.

    SLURM sends it to every process of the job, and it ends those that do not expect it. It is for submitit alone, in
    the process above, which queues the job again and then ends this one. Lightning would queue the job as well, but
    at SIGUSR1, where submitit asks SLURM for SIGUSR2; and if SUBMITIT_PREEMPT_SIGNAL makes that the same, Lightning
    does not receive it either.
    """
    requeueing = {signal.Signals[f"SIG{JobEnvironment.USR_SIG}"]}
    signal.pthread_sigmask(signal.SIG_BLOCK, requeueing)
    try:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, **streams)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, requeueing)
