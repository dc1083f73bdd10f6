"""What a training costs: `costs.json`, from which a trial of a minute tells what the whole run will take."""

import math
import statistics
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from refinenet_pl.evaluation.memory import peak_memory
from refinenet_pl.files import write_json
from refinenet_pl.training.task import SegmentationTask

KEPT = 200
"""Medians are of the last so many steps, and of the last so many images."""


class TrainingCosts(Callback):
    """Writes `costs.json` into the run folder when training ends, be it early by `max_time`.

    - `parameters`: of the network.
    - `steps`, `planned_steps`: of the optimizer, done and in the whole run.
    - `seconds`: of training with its validations, all parts of a resumed run together. (A part that was killed counts
      up to the checkpoint from which the next went on.)
    - `seconds_per_step`: median of the optimizer's steps in this part, without validations; null if there was none.
    - `seconds_per_validation_image`: median in this part, those of the sanity check included; null if there was none.
    - `planned_validation_images`: shown to one process in the whole run, and once more in the evaluation that ends it;
      null if validations come by the clock, or if none had been prepared when training ended.
    - `peak_memory_mb`: of the GPU by tensors, or of this process, in this part.

    On several devices everything is of the main process.
    """

    def __init__(self) -> None:
        self.earlier_seconds = 0.0
        self.started: float | None = None
        self.steps = 0
        self.last_step = self.validation_started = self.last_image = 0.0
        self.step_seconds: deque[float] = deque(maxlen=KEPT)
        self.image_seconds: deque[float] = deque(maxlen=KEPT)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the seconds so far."""
        return {"seconds": self.seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the seconds of earlier parts."""
        self.earlier_seconds = state_dict["seconds"]

    def seconds(self) -> float:
        """Seconds of training up to now, with those of earlier parts."""
        return self.earlier_seconds + (0.0 if self.started is None else time.perf_counter() - self.started)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks."""
        self.started = self.last_step = time.perf_counter()
        self.steps = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Time a step, if the optimizer took one: of several batches where gradients are accumulated."""
        if trainer.global_step > self.steps:
            now = time.perf_counter()
            self.step_seconds.append(now - self.last_step)
            self.steps, self.last_step = trainer.global_step, now

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the images."""
        self.validation_started = self.last_image = time.perf_counter()

    def on_validation_batch_end(self, *_: Any) -> None:
        """Time an image: there is one in a batch."""
        now = time.perf_counter()
        self.image_seconds.append(now - self.last_image)
        self.last_image = now

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the validation out of the step that is under way."""
        self.last_step += time.perf_counter() - self.validation_started

    def on_train_end(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Write."""
        if not trainer.is_global_zero:
            return
        costs = {
            "parameters": sum(parameter.numel() for parameter in pl_module.network.parameters()),
            "steps": trainer.global_step,
            "planned_steps": int(trainer.estimated_stepping_batches),
            "seconds": round(self.seconds(), 3),
            "seconds_per_step": median(self.step_seconds),
            "seconds_per_validation_image": median(self.image_seconds),
            "planned_validation_images": planned_validation_images(trainer),
            "peak_memory_mb": round(peak_memory(str(pl_module.device)) / 1e6, 1),
        }
        write_json(Path(trainer.default_root_dir) / "costs.json", costs)


def median(seconds: deque[float]) -> float | None:
    """Their median to the microsecond, or None if there are none."""
    return round(statistics.median(seconds), 6) if seconds else None


def planned_validation_images(trainer: pl.Trainer) -> int | None:
    """How many images one process is shown by the validations of the whole run, and by another at its end.

    None if validations come by the clock, or if none has been prepared.
    """
    if not trainer.enable_validation:
        return 0
    between, epochs_between = trainer.val_check_batch, trainer.check_val_every_n_epoch
    if between is None or not trainer.num_val_batches:
        return None
    batches, accumulated = trainer.num_training_batches, trainer.accumulate_grad_batches
    epochs, steps = divmod(trainer.estimated_stepping_batches, math.ceil(batches / accumulated))
    rest = steps * accumulated  # batches of an epoch that a limit of steps cuts short
    if epochs_between is None:
        validations = (epochs * batches + rest) // between
    else:
        validations = epochs // epochs_between * (batches // between)
        if (epochs + 1) % epochs_between == 0:
            validations += rest // between
    return int((validations + 1) * sum(trainer.num_val_batches))
