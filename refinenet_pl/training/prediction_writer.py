"""Predictions as files: masks, and overlays to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor

from refinenet_pl.data.unlabeled import ImagesDataModule
from refinenet_pl.evaluation.pictures import overlay, palette_image, save_picture
from refinenet_pl.files import path_inside
from refinenet_pl.outputs import Output, check_outputs
from refinenet_pl.training.task import SegmentationTask


class PredictionWriter(BasePredictionWriter):
    """Writes each prediction as a palette mask `<name>.png` and as an overlay `<name>_overlay.png`.

    Args:
        output: Folder to write to.
    """

    def __init__(self, output: str | Path) -> None:
        super().__init__(write_interval="batch")
        self.output = Path(output)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check the paths of all files before anything is predicted; with other data modules, none are known."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, ImagesDataModule):
            samples = data.dataset.samples
            check_outputs(
                (Output(path, Path(str(sample.image))) for sample in samples for path in self._paths(sample.name)),
                "--output",
            )

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: SegmentationTask,  # type: ignore[override]
        prediction: Tensor | None,
        batch_indices: Sequence[int] | None,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write mask and overlay of one image; nothing for an image that could not be read."""
        if prediction is None:
            return
        mask = prediction.cpu().numpy()
        image = batch["image"].permute(1, 2, 0).cpu().numpy()
        colors = pl_module.preprocessing.class_colors
        mask_path, overlay_path = self._paths(batch["name"])
        save_picture(mask_path, palette_image(mask, colors))
        save_picture(overlay_path, overlay(image, mask, colors))

    def _paths(self, name: str) -> tuple[Path, Path]:
        """Return the paths of mask and overlay."""
        return path_inside(self.output, f"{name}.png"), path_inside(self.output, f"{name}_overlay.png")
