"""What is written of predictions: masks and overlays to look at, or an evaluation server's archive."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.callbacks import BasePredictionWriter, Callback
from torch import Tensor

from refinenet_pl.data.submissions import SUBMISSIONS, write_archive
from refinenet_pl.evaluation.pictures import overlay, palette_image, save_picture
from refinenet_pl.training.task import SegmentationTask


class PredictionWriter(BasePredictionWriter):
    """Writes each prediction as a palette mask `<name>.png` and as an overlay `<name>_overlay.png`.

    Args:
        output: Folder to write to.
    """

    def __init__(self, output: Path) -> None:
        super().__init__(write_interval="batch")
        self.output = output

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
        """Write one sample's mask and overlay."""
        labels = prediction.cpu().numpy()
        image = batch["image"].permute(1, 2, 0).cpu().numpy()
        save_picture(self.output / f"{batch['name']}.png", palette_image(labels, pl_module.class_colors))
        overlaid = overlay(image, labels, pl_module.class_colors)
        save_picture(self.output / f"{batch['name']}_overlay.png", overlaid)


class SubmissionWriter(Callback):
    """Writes each prediction as an evaluation server wants it, then the checked archive of them all.

    Args:
        server: A key of `SUBMISSIONS`.
        output: Folder to write to; several machines must share it.
    """

    def __init__(self, server: str, output: Path) -> None:
        self.submission = SUBMISSIONS[server]
        self.output = output
        self.members: dict[str, Path] = {}

    def setup(self, trainer: pl.Trainer, pl_module: SegmentationTask, stage: str) -> None:  # type: ignore[override]
        """Refuse classes and images that the server does not score, before anything is predicted."""
        self.submission.check_classes(pl_module.class_names)
        samples = trainer.datamodule.dataset.samples  # type: ignore[attr-defined]
        self.members = self.submission.members({sample.name: sample.image for sample in samples})

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write one sample's file."""
        values = np.array(self.submission.values, np.uint8)[outputs.cpu().numpy()]
        gray = self.submission.mode == "L"
        picture = Image.fromarray(values) if gray else palette_image(values, self.submission.classes.colors)
        save_picture(self.output / self.submission.member(batch["name"]), picture)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pack in the main process, once all have written."""
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        archive = write_archive(self.submission, self.output, self.members)
        print(f"submission: {archive}: {len(self.members)} images, sizes and values checked")
        if len(self.members) != self.submission.images:
            print(f"warning: the test set has {self.submission.images} images, and the server refuses any other number")
