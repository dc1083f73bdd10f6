"""Stops a command at Ctrl-C and SIGTERM: at the end of a step, with a checkpoint, in bounded time."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import LightningEnvironment

from refinenet_pl.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SECONDS = 60
"""How long a step, and writing a checkpoint, may take before the process ends without it."""


class Interruption(Callback):
    """Raises `Interrupted` between two steps, on every process between the same two; `RunCheckpoints` saves it then.

    It also ends the processes that Lightning started for other devices if the command fails.

    A second Ctrl-C ends the processes at once. So does a step that takes longer than `SECONDS`, for example because
    another process has failed. The command ends with status 128 + signal: 130 for Ctrl-C, 143 for SIGTERM.

    In a SLURM job, SIGUSR1 asks for the same, and for a new start of the job: SLURM sends it before the time limit if
    the job has `--signal=SIGUSR1@90`.

    Args:
        checkpoint: The file that the training resumes from; None if there is none, as in an evaluation. The message
            for the user names it.
        again: How to go on without a checkpoint.
    """

    def __init__(self, checkpoint: Path | None = None, again: str = "") -> None:
        self.checkpoint = checkpoint
        self.again = again
        self.received: int | None = None
        self.trainer: pl.Trainer | None = None

    def request(self, signum: int) -> None:
        """Ask for an end after the current step, as if the signal had arrived. A signal handler may call it."""
        if self.received is not None:
            if signum == signal.SIGINT:
                self.end_now("stopped at once")
            return
        self.received = signum
        Watchdog(SECONDS, self.end_now, [f"did not stop within {SECONDS} s, and was ended"]).start()
        if self.trainer is not None and is_started_by_another(self.trainer) and signum != signal.SIGINT:
            # That process tells it, and ends this one in time. A terminal sends Ctrl-C to all of them.
            os.kill(os.getppid(), signum)
        if self.trainer is not None and self.trainer.is_global_zero:
            again = "; press Ctrl-C again to stop at once" if signum == signal.SIGINT else ""
            say(f"{name_of(signum)}: stopping after this step{again}")

    def end_now(self, reason: str) -> None:
        """End this process and those that it started, whatever they are doing."""
        if self.trainer is not None:
            if self.trainer.is_global_zero:
                say(f"{reason}{self.advice(will_be_saved=False)}")
            end_started(self.trainer)
        os._exit(128 + (self.received or signal.SIGTERM))

    def advice(self, will_be_saved: bool) -> str:
        """Return how to go on."""
        if self.checkpoint is None:
            return self.again
        if will_be_saved or self.checkpoint.is_file():
            return f"; to go on: refinenet fit --ckpt_path {self.checkpoint}"
        return "; there is no checkpoint yet, so start the run again"

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.request(signum)

    def install(self) -> None:
        """Install the signal handlers. Lightning's would be in the way: with several processes they can block."""
        if threading.current_thread() is threading.main_thread():
            for signum in (*SIGNALS, *([signal.SIGUSR1] if "SLURM_JOB_ID" in os.environ else [])):
                signal.signal(signum, self.handle)

    def stop_if_asked(self, trainer: pl.Trainer) -> None:
        """Raise `Interrupted` if a signal has arrived at any process. All processes must call it."""
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            self.received = self.received or signal.SIGTERM
            self.stop(trainer)

    def stop(self, trainer: pl.Trainer) -> None:
        """Raise `Interrupted`."""
        assert self.received is not None
        fitting = trainer.state.fn == "fit"
        advice = self.advice(will_be_saved=fitting and not trainer.sanity_checking and trainer.global_step > 0)
        at = f" at step {trainer.global_step}" if fitting else ""
        # The first process started the others. It is killed if one of them ends with another status than 0.
        status = 128 + self.received if trainer.is_global_zero else 0
        if self.received == signal.SIGUSR1 and trainer.is_global_zero:
            # SLURM ends the job as soon as it is queued again, so that the checkpoint comes first.
            raise Interrupted(f"stopped by {name_of(self.received)}{at}", status, afterwards=queue_again)
        raise Interrupted(f"stopped by {name_of(self.received)}{at}{advice}", status)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take over the signals until the command ends."""
        self.trainer = trainer
        self.install()

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals from Lightning, which has just installed its handlers."""
        self.install()

    on_train_start = on_test_start = on_predict_start = on_sanity_check_start

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop between two epochs."""
        self.stop_if_asked(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop between two optimizer steps, but not while gradients are accumulated."""
        if batch_idx > 0 and batch_idx % trainer.accumulate_grad_batches == 0:
            self.stop_if_asked(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop before a validation."""
        self.install()
        self.stop_if_asked(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop within an evaluation. Several processes do so only if there is nothing to save.

        They have different numbers of batches, so that they cannot agree on one.
        """
        if self.received is not None and trainer.world_size == 1:
            self.stop(trainer)
        if self.received is not None and trainer.state.fn != "fit" and not is_started_by_another(trainer):
            self.end_now(f"stopped by {name_of(self.received)}")

    on_test_batch_end = on_validation_batch_end  # type: ignore[assignment]
    on_predict_batch_end = on_validation_batch_end  # type: ignore[assignment]

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """End the processes that this one started, unless they stop with it: one that stands still would stay."""
        if not isinstance(exception, Interrupted):
            end_started(trainer)


def is_started_by_another(trainer: pl.Trainer) -> bool:
    """Return whether another process of this training started this one."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return trainer.local_rank > 0 and isinstance(environment, LightningEnvironment)


def end_started(trainer: pl.Trainer) -> None:
    """End the processes of this training that this one started, whatever they are doing."""
    listed = getattr(trainer.strategy.launcher, "procs", [])
    processes = [*listed]
    # Lightning kills this process, which may not have told its message yet, if one of the list has failed.
    listed.clear()
    for process in processes:
        process.kill()


def queue_again() -> str:
    """Ask SLURM to start this job again, and return what came of it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"the job {job} is not queued again: {error}"
    return f"the job {job} is {'queued again' if done.returncode == 0 else f'not queued again: {done.stderr.strip()}'}"


class Watchdog(threading.Timer):
    """A timer that ends with the command."""

    daemon = True


@contextmanager
def handlers_restored() -> Iterator[None]:
    """Restore the signal handlers afterwards, and stop what waits for the end of the command."""
    handlers = {signum: signal.getsignal(signum) for signum in (*SIGNALS, signal.SIGUSR1)}
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        for thread in threading.enumerate():
            if isinstance(thread, Watchdog):
                thread.cancel()


def name_of(signum: int) -> str:
    """Return what users call a signal."""
    return "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name


def say(message: str) -> None:
    """Print to stderr. Unlike print, it is safe in a signal handler."""
    os.write(2, f"\nrefinenet: {message}\n".encode())
