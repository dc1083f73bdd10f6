"""The plan of a training: its optimizer steps and the optimizer's settings, also for a training that is continued."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

PLAN_KEY = "refinenet_plan"
"""Key of a checkpoint's plan: {"total_steps": steps of the whole training, "groups": settings of the optimizer}."""


class Progress(NamedTuple):
    """How far a training was when its checkpoint was saved.

    Attributes:
        step: Optimizer steps.
        epoch: Epochs that were started.
        batches: Batches of the newest epoch.
        epoch_ended: Whether these are all its batches.
    """

    step: int
    epoch: int
    batches: int
    epoch_ended: bool

    @property
    def in_epoch(self) -> bool:
        """Whether the checkpoint is from the middle of an epoch."""
        return self.batches > 0 and not self.epoch_ended


class Resumed(NamedTuple):
    """What a continued training keeps of its checkpoint.

    Attributes:
        progress: How far the training was.
        plan: The plan until then, under the keys of PLAN_KEY.
    """

    progress: Progress
    plan: dict[str, Any]


def read_progress(checkpoint: Mapping[str, Any]) -> Progress:
    """Read the progress from a Lightning checkpoint."""
    loop = checkpoint["loops"]["fit_loop"]
    batches = loop["epoch_loop.batch_progress"]
    current = batches["current"]
    return Progress(
        int(checkpoint["global_step"]),
        int(loop["epoch_progress"]["current"]["ready"]),
        int(current["processed"]),
        batches["is_last_batch"] and current["processed"] == current["ready"],  # else the last one has only started
    )


def total_steps(trainer: pl.Trainer, progress: Progress | None) -> float:
    """Return the optimizer steps of the whole training; infinity if it has no end.

    For a continued training: the steps that were taken, and those that are still to come with the trainer's settings,
    such as a changed end or batch size. If nothing changes, this is the number of the training's first part.

    Args:
        trainer: The trainer, with its data connected.
        progress: The progress of the checkpoint; None for a new training.
    """
    planned = trainer.estimated_stepping_batches
    if progress is None or planned == math.inf or trainer.max_epochs in (None, -1):
        return planned
    later = max(0, trainer.max_epochs - progress.epoch) * _epoch_steps(trainer)
    total = progress.step + _steps_left(trainer, progress) + later
    return total if trainer.max_steps == -1 else min(total, trainer.max_steps)


def total_epochs(trainer: pl.Trainer, steps: float, progress: Progress | None) -> int | None:
    """Return the epochs of the whole training, the last one begun at least; None if they are unlimited or unknown.

    Args:
        trainer: The trainer, with its data connected.
        steps: Optimizer steps of the whole training.
        progress: The progress of the checkpoint; None for a new training.
    """
    if steps == math.inf or trainer.num_training_batches == math.inf:
        return None
    if progress is None:
        return math.ceil(steps / _epoch_steps(trainer))
    later = steps - progress.step - _steps_left(trainer, progress)
    return progress.epoch + math.ceil(max(0, later) / _epoch_steps(trainer))


def _epoch_steps(trainer: pl.Trainer) -> int:
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def _steps_left(trainer: pl.Trainer, progress: Progress) -> int:
    """Return the steps to the end of the checkpoint's epoch."""
    # A step of accumulated gradients ends with a batch that the epoch numbers, wherever the training goes on.
    taken = progress.batches // trainer.accumulate_grad_batches
    return 0 if progress.epoch_ended else max(0, _epoch_steps(trainer) - taken)


def group_settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the settings of each parameter group: learning rate, weight decay and others, without parameters."""
    return [
        {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
        for group in optimizer.param_groups
    ]


def apply_changes(
    optimizer: Optimizer,
    scheduler: LambdaLR,
    saved: list[dict[str, Any]],
    configured: list[dict[str, Any]],
) -> None:
    """Apply changed settings to an optimizer and a scheduler that were restored from a checkpoint.

    Lightning restores the settings of the checkpoint, so that a changed configuration has no effect. The learning rate
    is computed anew also if nothing has changed, because the schedule may have: Lightning restores the checkpoint's.

    Args:
        optimizer: The optimizer.
        scheduler: Its schedule.
        saved: `group_settings` of the optimizer as the checkpoint's configuration makes it.
        configured: `group_settings` of the optimizer as the current configuration makes it.
    """
    for index, (group, old, new) in enumerate(zip(optimizer.param_groups, saved, configured, strict=True)):
        group.update({name: value for name, value in new.items() if name != "lr" and value != old.get(name)})
        scheduler.base_lrs[index] = group["initial_lr"] = new["lr"]
        group["lr"] = new["lr"] * scheduler.lr_lambdas[index](scheduler.last_epoch)
