"""Time and memory of a training run, written so that a trial of one minute predicts the whole run."""

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
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.task import SegmentationTask

MEDIAN_LENGTH = 200
"""Number of last steps, and of last images, that the medians cover."""


class TrainingCosts(Callback):
    """Writes `costs.json` to the trainer's `default_root_dir` when training ends, also if `max_time` ends it early.

    - `parameters`: number of parameters of the network.
    - `steps`, `planned_steps`: optimizer steps taken, and of the whole run.
    - `seconds`: training time with validations, summed over all parts of a resumed run. A killed part counts up to the
      checkpoint that the next part resumed.
    - `seconds_per_step`: median time of an optimizer step in this part, without validations; null without steps.
    - `loader_wait_share`: part of the training time in this part, without validations, in which the training waited for
      data, 0..1; null if the data has its own loader. It is logged too. If it is large, the device starves: use more
      `num_workers` or a `cache_dir`.
    - `seconds_per_validation_image`: median in this part, including the sanity check; null without validations.
    - `planned_validation_images`: images that one process validates in the whole run, including the final evaluation;
      null if validations are scheduled by time, or if none was prepared when training ended.
    - `peak_memory_mb`: peak memory in this part: of tensors on the GPU, or of this process.

    With several devices, all values are those of the main process.

    Every `log_every_n_steps` steps it also logs `images_per_second`, of all devices since the last time and without
    validations, and `peak_memory_mb`.
    """

    def __init__(self) -> None:
        self.earlier_seconds = 0.0
        self.started: float | None = None
        self.steps = 0
        self.last_step = self.validation_started = self.last_image = 0.0
        self.validation_seconds = 0.0
        self.images, self.last_logged = 0, 0.0
        self.step_seconds: deque[float] = deque(maxlen=MEDIAN_LENGTH)
        self.image_seconds: deque[float] = deque(maxlen=MEDIAN_LENGTH)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint stores: the seconds up to now."""
        return {"seconds": self.seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the seconds of earlier parts."""
        self.earlier_seconds = state_dict["seconds"]

    def seconds(self) -> float:
        """Return the seconds of training up to now, including earlier parts."""
        return self.earlier_seconds + (0.0 if self.started is None else time.perf_counter() - self.started)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks."""
        self.started = self.last_step = self.last_logged = time.perf_counter()
        self.steps = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: dict[str, Any], *_: Any
    ) -> None:
        """Time an optimizer step, which spans several batches if gradients are accumulated."""
        self.images += len(batch["image"])
        if trainer.global_step > self.steps:
            now = time.perf_counter()
            self.step_seconds.append(now - self.last_step)
            self.steps, self.last_step = trainer.global_step, now
            if (share := self.loader_wait_share(trainer)) is not None:
                pl_module.log("loader_wait_share", share)
            every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
            if every and trainer.global_step % every == 0:
                pl_module.log("images_per_second", self.images * trainer.world_size / (now - self.last_logged))
                pl_module.log("peak_memory_mb", peak_memory(str(pl_module.device)) / 1e6)
                self.images, self.last_logged = 0, now

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock for images."""
        self.validation_started = self.last_image = time.perf_counter()

    def on_validation_batch_end(self, *_: Any) -> None:
        """Time one image; a batch has one."""
        now = time.perf_counter()
        self.image_seconds.append(now - self.last_image)
        self.last_image = now

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Exclude the validation from the time of the current step."""
        seconds = time.perf_counter() - self.validation_started
        self.last_step += seconds
        self.last_logged += seconds
        if self.started is not None:  # else it is the check before the training
            self.validation_seconds += seconds

    def loader_wait_share(self, trainer: pl.Trainer) -> float | None:
        """Return the part of the time since the start, without validations, that was spent waiting for data."""
        waited = getattr(trainer.train_dataloader, "seconds_waited", None)
        if waited is None or self.started is None:
            return None
        return float(waited / (time.perf_counter() - self.started - self.validation_seconds))

    def on_train_end(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Write the file."""
        if not trainer.is_global_zero:
            return
        costs = {
            "parameters": sum(parameter.numel() for parameter in pl_module.network.parameters()),
            "steps": trainer.global_step,
            "planned_steps": int(trainer.estimated_stepping_batches),
            "seconds": round(self.seconds(), 3),
            "seconds_per_step": median(self.step_seconds),
            "loader_wait_share": None if (share := self.loader_wait_share(trainer)) is None else round(share, 4),
            "seconds_per_validation_image": median(self.image_seconds),
            "planned_validation_images": planned_validation_images(trainer),
            "peak_memory_mb": round(peak_memory(str(pl_module.device)) / 1e6, 1),
        }
        write_json(RunFolder(Path(trainer.default_root_dir)).costs, costs)


def median(seconds: deque[float]) -> float | None:
    """Return the median, rounded to microseconds; None without values."""
    return round(statistics.median(seconds), 6) if seconds else None


def planned_validation_images(trainer: pl.Trainer) -> int | None:
    """Return the number of images that one process validates in the whole run, including the final evaluation.

    None if validations are scheduled by time, or if none has been prepared.
    """
    if not trainer.enable_validation:
        return 0
    between, epochs_between = trainer.val_check_batch, trainer.check_val_every_n_epoch
    if between is None or not trainer.num_val_batches:
        return None
    batches, accumulated = trainer.num_training_batches, trainer.accumulate_grad_batches
    epochs, steps = divmod(trainer.estimated_stepping_batches, math.ceil(batches / accumulated))
    rest = steps * accumulated  # batches of the last epoch, if max_steps ends it early
    if epochs_between is None:
        validations = (epochs * batches + rest) // between
    else:
        validations = epochs // epochs_between * (batches // between)
        if (epochs + 1) % epochs_between == 0:
            validations += rest // between
    return int((validations + 1) * sum(trainer.num_val_batches))
