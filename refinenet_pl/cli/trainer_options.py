"""Options of the trainer: refuses those that a run cannot do, and bounds how long processes wait for each other."""

import os
from datetime import timedelta
from typing import Any

import torch
from jsonargparse import Namespace
from pytorch_lightning.strategies import DDPStrategy

from refinenet_pl.errors import UserError

PATIENCE = timedelta(minutes=10)
"""How long a process of a training waits for the others; torch has the same default, Lightning 30 minutes."""
SPAWNING = ("ddp_spawn", "ddp_fork", "ddp_notebook")


def check_trainer(trainer: Namespace) -> None:
    """Check the options of the trainer.

    Raises:
        UserError: An option does not go with a run, which logs, saves checkpoints and evaluates.
    """
    if trainer.barebones:
        raise UserError("trainer.barebones turns off metrics, checkpoints and evaluation, which are parts of every run")
    if trainer.accumulate_grad_batches < 1:
        raise UserError(f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}; expected 1 or more")
    if isinstance(trainer.strategy, str) and trainer.strategy.startswith(SPAWNING):
        # The trained network would stay in the processes that it starts, out of reach of the final evaluation.
        raise UserError(f"trainer.strategy is {trainer.strategy}, which starts copies of this process; expected ddp")


def training_strategy(strategy: Any) -> Any:
    """Return the strategy of a training, in which processes give up if one of them stands still.

    An evaluation keeps Lightning's own patience: its processes work alone for hours, and some end earlier than others.
    """
    if strategy in ("ddp", "ddp_find_unused_parameters_false"):
        return DDPStrategy(timeout=PATIENCE)
    if strategy == "ddp_find_unused_parameters_true":
        return DDPStrategy(timeout=PATIENCE, find_unused_parameters=True)
    return strategy


def runs_alone_on_cpu(trainer: Namespace) -> bool:
    """Return whether the trainer uses the CPU in a single process; several divide the threads among them."""
    has_device = torch.cuda.is_available() or torch.backends.mps.is_available()
    on_cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not has_device)
    alone = str(trainer.devices) in ("auto", "1") and trainer.num_nodes == 1
    return on_cpu and alone and os.environ.get("WORLD_SIZE", "1") == "1"
