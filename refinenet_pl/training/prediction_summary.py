"""Begins and ends a prediction: the manifest, legend, table of class shares, and what was predicted and skipped."""

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from PIL import ImageOps
from pytorch_lightning.callbacks import Callback

from refinenet_pl.evaluation.class_shares import write_shares
from refinenet_pl.evaluation.legend import class_entries, draw_legend
from refinenet_pl.evaluation.pictures import save_picture
from refinenet_pl.prediction_folder import PredictionFolder
from refinenet_pl.text import plural
from refinenet_pl.training.task import SegmentationTask

TEXT, HEIGHT = 28, 900
"""Height of the letters of the legend, and of the whole legend at most, in pixels."""


class PredictionSummary(Callback):
    """Writes the manifest before the first image, and legend and shares after the last one; tells the numbers.

    Args:
        folder: Where the predictions are.
        manifest: Returns checkpoint and settings.
    """

    def __init__(self, folder: PredictionFolder, manifest: Callable[[], Mapping[str, Any]]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.predicted = self.finished = 0

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the manifest in the main process, now that the checkpoint is loaded."""
        if trainer.is_global_zero:
            self.folder.claim(self.manifest())

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count an image, or a video at its last frame."""
        self.finished += "finished" in batch
        self.predicted += outputs is not None and batch.get("last", True)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Write the files, and print the summary, in the main process."""
        counts = torch.tensor([self.predicted, self.finished], device=pl_module.device)
        predicted, finished = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        if not trainer.is_global_zero:
            return
        names, colors = pl_module.preprocessing.class_names, pl_module.preprocessing.class_colors
        legend = draw_legend(class_entries(range(len(names)), names, colors), TEXT, height=HEIGHT)
        save_picture(self.folder.legend, ImageOps.expand(legend, TEXT, "white"))
        write_shares(self.folder.shares, self.folder.masks, names)
        skipped = f"; skipped {plural(finished, 'file')} that had been predicted before" if finished else ""
        print(f"predicted {plural(predicted, 'file')}{skipped}: {self.folder.path}")
