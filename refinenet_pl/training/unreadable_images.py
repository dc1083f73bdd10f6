"""Tells at the end of a prediction which files could not be read."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import distributed

from refinenet_pl.errors import Fault
from refinenet_pl.text import plural


class UnreadableImages(Callback):
    """Collects the errors of images and videos that could not be read. The others are predicted."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the error of a file."""
        if "error" in batch:
            self.errors.append(batch["error"])

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise Fault in all processes if any file could not be read."""
        parts = [self.errors]
        if distributed.is_available() and distributed.is_initialized():
            parts = [[]] * distributed.get_world_size()
            distributed.all_gather_object(parts, self.errors)
        errors = sorted(error for part in parts for error in part)
        if errors:
            files = plural(len(errors), "file")
            raise Fault("\n".join([f"{files} could not be read; all others are predicted:", *errors]))
