"""Refuses options of the trainer that it accepts but that a run cannot do."""

from jsonargparse import Namespace

from refinenet_pl.errors import UserError

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
