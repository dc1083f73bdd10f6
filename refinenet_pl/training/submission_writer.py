"""Predictions in the format of an evaluation server."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from refinenet_pl.data.submissions import SUBMISSIONS, write_archive
from refinenet_pl.evaluation.pictures import palette_image, save_picture
from refinenet_pl.files import path_inside
from refinenet_pl.outputs import Output, check_outputs
from refinenet_pl.training.task import SegmentationTask


class SubmissionWriter(Callback):
    """Writes each prediction in a server's format, then one checked archive of all.

    It needs the trainer's data module to be an `ImagesDataModule`.

    Args:
        server: A key of `SUBMISSIONS`.
        output: Folder to write to. Several machines must share it.
    """

    def __init__(self, server: str, output: str | Path) -> None:
        self.submission = SUBMISSIONS[server]
        self.output = Path(output)
        self.members: dict[str, Path] = {}

    def setup(self, trainer: pl.Trainer, pl_module: SegmentationTask, stage: str) -> None:  # type: ignore[override]
        """Refuse classes, images and paths before anything is predicted."""
        self.submission.check_classes(pl_module.preprocessing.class_names)
        samples = trainer.datamodule.dataset.samples  # type: ignore[attr-defined]
        self.members = self.submission.members({sample.name: sample.image for sample in samples})
        outputs = [Output(path_inside(self.output, member), image) for member, image in self.members.items()]
        archive = Output(self.output / self.submission.archive, samples[0].image)
        check_outputs([*outputs, archive], "--output")

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | None,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the file of one image; nothing for an image that could not be read."""
        if outputs is None:
            return
        values = np.array(self.submission.values, np.uint8)[outputs.cpu().numpy()]
        gray = self.submission.mode == "L"
        mask = Image.fromarray(values) if gray else palette_image(values, self.submission.classes.colors)
        save_picture(path_inside(self.output, self.submission.member(batch["name"])), mask)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pack the archive in the main process, after all processes have written."""
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        archive = write_archive(self.submission, self.output, self.members)
        print(f"submission: {archive}: {len(self.members)} images, sizes and values checked")
        if len(self.members) != self.submission.images:
            print(f"warning: the test set has {self.submission.images} images, and the server rejects any other number")
