"""Predictions of images as files: masks, overlays to look at, and probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor

from refinenet_pl.evaluation.inference import most_probable
from refinenet_pl.evaluation.pictures import overlay, palette_image, save_picture
from refinenet_pl.files import atomic_write
from refinenet_pl.prediction_folder import SOURCE, PredictionFolder
from refinenet_pl.training.task import SegmentationTask


class PredictionWriter(BasePredictionWriter):
    """Writes mask and overlay of each image, and its probabilities if the task predicts them.

    Args:
        folder: Where to write.
        opacity: Weight of the class colors in overlays, 0..1.
    """

    def __init__(self, folder: PredictionFolder, opacity: float = 0.5) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder
        self.opacity = opacity

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
        """Write the files of one image, the mask last: an image with a mask is finished."""
        if prediction is None or "video" in batch:
            return
        name, preprocessing = batch["name"], pl_module.preprocessing
        if prediction.dim() == 3:
            with atomic_write(self.folder.probabilities(name)) as temporary, temporary.open("wb") as file:
                halves = prediction.cpu().numpy().astype(np.float16)
                np.savez_compressed(file, probabilities=halves, class_names=np.array(preprocessing.class_names))
        mask = class_indices(prediction)
        image = batch["image"].permute(1, 2, 0).cpu().numpy()
        colors = preprocessing.class_colors
        save_picture(self.folder.overlay(name), overlay(image, mask, colors, self.opacity))
        texts = {SOURCE: batch["source"]} if "source" in batch else {}
        save_picture(self.folder.mask(name), palette_image(mask, colors), texts)


def class_indices(prediction: Tensor) -> np.ndarray:
    """Return class indices, uint8 [H, W], of what the task predicts: these, or probabilities [C, H, W]."""
    return (most_probable(prediction) if prediction.dim() == 3 else prediction).cpu().numpy()
