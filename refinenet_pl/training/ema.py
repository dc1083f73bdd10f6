"""Exponential moving average of the weights."""

from collections.abc import Sequence

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Averages weights and batch-norm statistics exponentially; validation and checkpoints use the average.

    The average starts as a copy of the weights after the first step. The decay warms up, because short runs would
    otherwise keep too much of their first weights: at update n after the first step it is
    min(decay, (1 + n) / (10 + n)).

    Args:
        decay: Weight of the old average in each update, after the warm-up.
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
            warm_decay = min(decay, (1 + int(updates)) / (10 + int(updates)))
            for mean, value in zip(averaged, current, strict=True):
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - warm_decay)
                else:
                    mean.copy_(value)

        # One call for all tensors: reading the number of updates stalls a GPU.
        super().__init__(multi_avg_fn=average)
        self.swapped = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Move the network to its device first: the average stays where it is created, and Lightning moves later."""
        pl_module.to(trainer.strategy.root_device)
        super().setup(trainer, pl_module, stage)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average into the network."""
        super().on_validation_epoch_start(trainer, pl_module)
        self.swapped = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the current weights back."""
        super().on_validation_epoch_end(trainer, pl_module)
        self.swapped = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Put the current weights back if a validation is interrupted, because a checkpoint may be saved next."""
        if self.swapped:
            self.on_validation_epoch_end(trainer, pl_module)
