"""The checkpoints of a run: best.ckpt and last.ckpt."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from refinenet_pl.errors import Interrupted, UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.resume_position import VALIDATION_KEY


class RunCheckpoints(ModelCheckpoint):
    """Saves the best checkpoint as Lightning's class does, and last.ckpt to resume from.

    last.ckpt is saved at the end of each epoch, every N steps, and when the run is interrupted. It holds the best score
    as well, so that it is saved after the best checkpoint.

    Args:
        every_n_steps: Save last.ckpt after this many optimizer steps too, also in the middle of an epoch. None: only at
            the end of each epoch.
        **options: Options of `ModelCheckpoint`, for the best checkpoint.
    """

    def __init__(self, every_n_steps: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(f"checkpoint.every_n_steps={every_n_steps}: expected at least 1 step, or null")
        self.every_n_steps = every_n_steps
        self.saved_step = 0
        self.waiting = self.validation_pending = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remove what a killed process left half-written."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and trainer.is_global_zero:
            for file in self.last.parent.glob(".*.ckpt.*.tmp"):
                file.unlink(missing_ok=True)

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        assert self.dirpath is not None
        return Path(self.dirpath) / RunFolder(Path()).last_checkpoint.name

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Save after N steps. At the end of an epoch, and before a validation, wait for their end."""
        super().on_train_batch_end(trainer, *args)
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            self.waiting = ends_epoch(trainer) or validation_follows(trainer)
            if not self.waiting and trainer.global_step > self.saved_step:
                self.save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what waited for the validation."""
        super().on_validation_end(trainer, pl_module)
        if self.waiting and not ends_epoch(trainer):
            self.save(trainer)
            self.waiting = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the end of an epoch."""
        super().on_train_epoch_end(trainer, pl_module)
        self.save(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save a training that is interrupted between two steps or in a validation."""
        super().on_exception(trainer, pl_module, exception)
        if isinstance(exception, Interrupted) and trainer.state.fn == "fit" and trainer.global_step > self.saved_step:
            self.validation_pending = trainer.validating
            self.save(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add whether a validation has to be done again."""
        checkpoint[VALIDATION_KEY] = self.validation_pending

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """The step that is loaded needs no new file."""
        self.saved_step = checkpoint["global_step"]

    def save(self, trainer: pl.Trainer) -> None:
        """Save last.ckpt."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.last, weights_only=False)
            self.saved_step = trainer.global_step


def ends_epoch(trainer: pl.Trainer) -> bool:
    """Return whether the current batch is the last of its epoch, or of the training."""
    return trainer.fit_loop.batch_idx + 1 == trainer.num_training_batches or trainer.global_step == trainer.max_steps


def validation_follows(trainer: pl.Trainer) -> bool:
    """Return whether Lightning is going to validate after the current batch, before the next one.

    Validations that are scheduled by time are not foreseen.
    """
    epochs = trainer.check_val_every_n_epoch
    if not trainer.enable_validation or (epochs is not None and (trainer.current_epoch + 1) % epochs):
        return False
    if trainer.should_stop or trainer.val_check_batch is None:
        return trainer.should_stop
    done = (trainer.fit_loop.total_batch_idx if epochs is None else trainer.fit_loop.batch_idx) + 1
    return bool(done % trainer.val_check_batch == 0)
