"""Tells at the end of a prediction which images could not be read."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import distributed

from refinenet_pl.errors import Fault


class UnreadableImages(Callback):
    """Collects the errors of images that `ImageDataset` could not read. The other images are predicted."""

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
        """Keep the error of an image."""
        if "error" in batch:
            self.errors.append(batch["error"])

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise Fault in all processes if any image could not be read."""
        parts = [self.errors]
        if distributed.is_available() and distributed.is_initialized():
            parts = [[]] * distributed.get_world_size()
            distributed.all_gather_object(parts, self.errors)
        errors = sorted(error for part in parts for error in part)
        if errors:
            images = "1 image" if len(errors) == 1 else f"{len(errors)} images"
            raise Fault("\n".join([f"{images} could not be read; all others are predicted:", *errors]))
