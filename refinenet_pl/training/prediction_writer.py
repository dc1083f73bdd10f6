"""Predictions as files: masks, and overlays to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor

from refinenet_pl.evaluation.pictures import overlay, palette_image, save_picture
from refinenet_pl.training.task import SegmentationTask


class PredictionWriter(BasePredictionWriter):
    """Writes each prediction as a palette mask `<name>.png` and as an overlay `<name>_overlay.png`.

    Args:
        output: Folder to write to.
    """

    def __init__(self, output: str | Path) -> None:
        super().__init__(write_interval="batch")
        self.output = Path(output)

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: SegmentationTask,  # type: ignore[override]
        prediction: Tensor,
        batch_indices: Sequence[int] | None,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write mask and overlay of one image."""
        mask = prediction.cpu().numpy()
        image = batch["image"].permute(1, 2, 0).cpu().numpy()
        colors = pl_module.preprocessing.class_colors
        save_picture(self.output / f"{batch['name']}.png", palette_image(mask, colors))
        save_picture(self.output / f"{batch['name']}_overlay.png", overlay(image, mask, colors))
