"""The exact position at which a resumed training goes on."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from refinenet_pl.data.base import SegmentationDataModule

VALIDATION_KEY = "refinenet_validation_pending"
"""Key of a checkpoint that was saved before the end of a validation, which the resumed run repeats."""
UNKNOWN = -1
"""A number of batches that fits no state that Lightning knows."""


class ResumePosition(Callback):
    """Lets a resumed training go on with the first batch that the checkpoint has not seen.

    Lightning restores its counters, but leaves the position in the data to the loader. Besides, its counters are wrong
    for some checkpoints: those of the end of an epoch if `max_steps` is set (it trains one more batch, and counts the
    epoch twice), those of an epoch that a limit of time or steps cut short (it leaves out the rest), and those saved
    during a validation (it leaves out the validation). This callback corrects the counters before they are restored.
    """

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Correct the checkpoint's counters, and pass the position to the data module."""
        if trainer.state.fn != "fit" or "loops" not in checkpoint:
            return
        counters = checkpoint["loops"]["fit_loop"]
        correct(
            counters,
            validation_pending=checkpoint.get(VALIDATION_KEY, False),
            limited_steps=trainer.max_steps != -1,
            accumulated=trainer.accumulate_grad_batches,
        )
        datamodule = getattr(trainer, "datamodule", None)
        if isinstance(datamodule, SegmentationDataModule):
            epoch, batches = counters["epoch_progress"]["current"], counters["epoch_loop.batch_progress"]["current"]
            datamodule.resume_at(epoch["processed"], batches["processed"] if epoch["ready"] > epoch["processed"] else 0)


def correct(counters: dict[str, Any], validation_pending: bool, limited_steps: bool, accumulated: int) -> None:
    """Correct the counters of Lightning's fit loop, in place.

    A counter has four numbers: an epoch or batch is ready, started, processed (before the hooks of its end), and
    completed (after them). "current" counts the batches of the epoch, "total" those of the run.

    Args:
        counters: `checkpoint["loops"]["fit_loop"]`.
        validation_pending: The checkpoint was saved before the end of a validation.
        limited_steps: The resumed run has `max_steps`.
        accumulated: Number of batches per optimizer step.
    """
    epochs, batches = counters["epoch_progress"], counters["epoch_loop.batch_progress"]
    validation = counters["epoch_loop.val_loop.batch_progress"]
    done, total = batches["current"]["processed"], batches["total"]["processed"]
    epoch_ended = epochs["current"]["ready"] == epochs["current"]["processed"]
    in_hooks_of_batch = batches["current"]["completed"] < done
    if validation_pending:
        # As if its first batch had started: Lightning then runs the whole validation before the next step.
        validation["total"].update(ready=1, started=1, processed=0, completed=0)
        set_progress(validation["current"], 0)
        set_progress(batches["current"], done)
        set_progress(batches["total"], total)
    elif batches["is_last_batch"] and (epoch_ended or in_hooks_of_batch):
        for count in epochs.values():
            set_progress(count, count["processed"] + (not epoch_ended))
        for count in (validation["current"], validation["total"], batches["current"]):
            set_progress(count, 0)
        set_progress(batches["total"], total)
        batches["is_last_batch"] = False
        steps = 0 if epoch_ended else 1  # the loggers' count lacks the last step before the end of its hooks
        if limited_steps:
            # With `max_steps`, Lightning takes the epoch as begun, and would skip a validation that seems due after
            # batch 0. With this number it does not, but counts a step.
            batches["total"]["completed"] = UNKNOWN
            steps -= 1
        count_steps(counters, steps)
    elif batches["is_last_batch"]:
        # After the validation at the end of an epoch: Lightning ends the epoch.
        set_progress(batches["current"], done)
        set_progress(batches["total"], total)
    elif done:
        if epoch_ended:  # a limit cut it short
            for count in epochs.values():
                set_progress(count, count["processed"] - 1)
                count.update(ready=count["processed"] + 1, started=count["processed"] + 1)
        if (epoch_ended or batches["current"]["ready"] > done) and done % accumulated == 0:
            count_steps(counters, -1)  # Lightning is going to count the last step again
        # As if saved in the hooks of the last batch: Lightning goes on with the next one, also if a validation that
        # has been done seems due.
        for count in (batches["current"], batches["total"]):
            set_progress(count, count["processed"])
            count["completed"] -= 1


def set_progress(count: dict[str, int], number: int) -> None:
    """Set a counter to a number of finished epochs or batches."""
    count.update(ready=number, started=number, processed=number, completed=number)


def count_steps(counters: dict[str, Any], number: int) -> None:
    """Add to the steps by which loggers count."""
    counters["epoch_loop.state_dict"]["_batches_that_stepped"] += number
