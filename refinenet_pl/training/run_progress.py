"""Says how far a command is: with a bar of one line in a terminal, and with a line every few steps elsewhere."""

import math
import sys
import time
from collections import deque
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint, ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from refinenet_pl.progress import can_redraw
from refinenet_pl.text import duration, plural
from refinenet_pl.training.plan import total_epochs
from refinenet_pl.training.task import SegmentationTask

LINES = 100
"""Most lines of a training without a terminal, besides those of validations."""
EVALUATION_SECONDS = 10
"""Time between two lines of an evaluation or a prediction without a terminal."""
MEAN_LENGTH = 50
"""Number of last steps that the seconds per step are averaged over."""
REDRAW_SECONDS = 0.5
"""Shortest time between two readings of the loss for the bar: a GPU waits for each."""
SHOWN = {"loss": ("train/loss", ".3g"), "lr": ("lr", ".2e")}
"""Values that a line shows, their keys, and how they are written."""


class RunProgress(ProgressBar):
    """Shows steps, loss, learning rate, speed, and the time left of the whole run.

    A training without a terminal prints a line every `trainer.log_every_n_steps` steps, or a multiple of it that gives
    at most 100 lines. Each validation within a training prints a line that stays, with the best mean IoU so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self.bar: Progress | None = None
        self.every = 1
        self.total = math.inf
        self.epochs: int | None = None
        self.first_step = self.step = 0
        self.began = self.last = self.redrawn = 0.0
        self.step_seconds: deque[float] = deque(maxlen=MEAN_LENGTH)

    def enable(self) -> None:
        """Show the progress."""
        self.enabled = True

    def disable(self) -> None:
        """Show nothing. Lightning calls it in all processes but the first."""
        self.enabled = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks."""
        assert isinstance(pl_module, SegmentationTask)
        self.total = pl_module.plan["total_steps"]
        self.epochs = total_epochs(trainer, self.total, pl_module.resumed and pl_module.resumed.progress)
        unit = max(trainer.log_every_n_steps, 1)  # type: ignore[attr-defined]  # 0 logs nothing
        self.every = unit * (10 if self.total == math.inf else math.ceil(self.total / LINES / unit))
        self.first_step = self.step = trainer.global_step
        self.began = self.last = time.monotonic()
        self._start_bar()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Show the step, if it is the optimizer's: gradients may be accumulated over several batches."""
        if trainer.global_step == self.step:
            return
        now = time.monotonic()
        self.step_seconds.append((now - self.last) / (trainer.global_step - self.step))
        self.step, self.last = trainer.global_step, now
        if self.bar is not None and now - self.redrawn >= REDRAW_SECONDS:
            self.redrawn = now
            epoch = f"epoch {'/'.join(self._epoch())}"
            self._draw(epoch, self.step, self.total, f"{'/'.join(self._steps())}  {'  '.join(self._state())}")
        elif self.bar is None and self.enabled and self.step % self.every == 0:
            words = [f"epoch {' of '.join(self._epoch())}", f"step {' of '.join(self._steps())}", *self._state()]
            print(", ".join(words), flush=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar."""
        self._stop_bar()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start an evaluation, or a validation within a training."""
        if trainer.state.fn != "fit":
            self._start_evaluation()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Show how many batches are evaluated."""
        total = sum(trainer.num_val_batches)
        if trainer.state.fn != "fit":
            self._show_evaluation("evaluated", batch_idx + 1, total)
        elif self.bar is not None:  # it starts after the sanity check
            self._draw("validation", batch_idx + 1, total, f"{batch_idx + 1}/{total}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the mean IoU, and let the time of the next step start here."""
        if trainer.state.fn != "fit":
            self._stop_bar()
        elif self.enabled and not trainer.sanity_checking and "val/miou" in trainer.callback_metrics:
            print(f"validation at step {trainer.global_step:,}: {self._miou()}", flush=True)
        self.last = time.monotonic()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start an evaluation."""
        self._start_evaluation()

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Show how many batches are evaluated."""
        self._show_evaluation("evaluated", batch_idx + 1, sum(trainer.num_test_batches))

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar."""
        self._stop_bar()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start a prediction."""
        self._start_evaluation()

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show how many images, or frames of one video, are predicted."""
        self._show_evaluation("predicted", batch_idx + 1, trainer.num_predict_batches[dataloader_idx])

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar."""
        self._stop_bar()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Remove the bar: the message of the error comes next."""
        self._stop_bar()

    def _start_evaluation(self) -> None:
        self.began = self.last = time.monotonic()
        self._start_bar()

    def _show_evaluation(self, word: str, done: int, total: float) -> None:
        if total == math.inf:  # the number of frames of a video is unknown until its end
            short, long = f"{done}", f"{word} {plural(done, 'frame')}"
        else:
            left = duration((time.monotonic() - self.began) / done * (total - done))
            short, long = f"{done}/{total}  {left} left", f"{word} {done} of {total}, {left} left"
        if self.bar is not None:
            self._draw(word, done, total, short)
        elif self.enabled and time.monotonic() - self.last >= EVALUATION_SECONDS:
            self.last = time.monotonic()
            print(long, flush=True)

    def _start_bar(self) -> None:
        console = Console(stderr=True)
        if self.bar is not None or not self.enabled or not can_redraw(console):
            return
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[text]}"))
        # What is printed to a file or a pipe must arrive there.
        self.bar = Progress(*columns, console=console, transient=True, expand=True, redirect_stdout=sys.stdout.isatty())
        self.bar.add_task("starting", total=None, text="")
        self.bar.start()

    def _draw(self, description: str, done: int, total: float, text: str) -> None:
        assert self.bar is not None
        (task,) = self.bar.task_ids
        finite = None if total == math.inf else total
        self.bar.update(task, description=description, completed=done, total=finite, text=text)

    def _stop_bar(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _epoch(self) -> list[str]:
        return [f"{self.trainer.current_epoch + 1}", *([] if self.epochs is None else [f"{self.epochs}"])]

    def _steps(self) -> list[str]:
        return [f"{self.step:,}", *([f"{self.total:,}"] if self.total < math.inf else [])]

    def _state(self) -> list[str]:
        """Return loss, learning rate, seconds per step, and the time left."""
        metrics = self.trainer.callback_metrics
        values = [f"{name} {float(metrics[key]):{form}}" for name, (key, form) in SHOWN.items() if key in metrics]
        if self.step_seconds:
            values.append(f"{sum(self.step_seconds) / len(self.step_seconds):.2g} s/step")
        if self.total < math.inf and self.step > self.first_step:
            elapsed = time.monotonic() - self.began  # with validations, which the rest of the run has too
            values.append(f"{duration(elapsed / (self.step - self.first_step) * (self.total - self.step))} left")
        return values

    def _miou(self) -> str:
        """Return the mean IoU, and the best so far: the checkpoint callback counts this validation later."""
        value = float(self.trainer.callback_metrics["val/miou"])
        scores = [
            float(callback.best_model_score)
            for callback in self.trainer.checkpoint_callbacks
            if isinstance(callback, ModelCheckpoint)
            and callback.monitor == "val/miou"
            and callback.best_model_score is not None
        ]
        text = f"mean IoU {100 * value:.2f} %"
        if not scores:
            return text
        return f"{text}, the best so far" if value > max(scores) else f"{text}, best so far {100 * max(scores):.2f} %"
