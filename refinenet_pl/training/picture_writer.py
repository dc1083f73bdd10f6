"""Pictures of validation samples: image, target, prediction and errors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.evaluation.panel import panel
from refinenet_pl.evaluation.pictures import save_picture
from refinenet_pl.files import path_inside
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.task import SegmentationTask


class PictureWriter(Callback):
    """Shows the first validation samples: image, target, prediction, errors, and the IoU of each class.

    The last validation's pictures are files in `pictures/` of the trainer's `default_root_dir`. A W&B logger gets one
    panel per validation.

    Args:
        count: Number of samples, taken from the start of the validation split.
    """

    def __init__(self, count: int = 4) -> None:
        self.count = count
        self.panels: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the panels of the last validation."""
        self.panels = {}

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: list[dict[str, Any]],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first samples of the main process."""
        if not trainer.is_global_zero:
            return
        missing = self.count - len(self.panels)
        for sample, prediction in zip(batch[:missing], outputs["predictions"], strict=False):
            image = sample["image"].permute(1, 2, 0).cpu().numpy()
            self.panels[sample["name"]] = (image, sample["mask"].cpu().numpy(), prediction.cpu().numpy())

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Write one file per sample, and log one panel; a sanity check does neither."""
        if trainer.sanity_checking:
            return
        preprocessing = pl_module.preprocessing
        for name, sample in self.panels.items():
            path = path_inside(RunFolder(Path(trainer.default_root_dir)).pictures, f"{name}.png")
            save_picture(path, panel(*sample, preprocessing.class_names, preprocessing.class_colors))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and self.panels:
                self._log(logger, dict(enumerate(preprocessing.class_names)))

    def _log(self, logger: WandbLogger, names: dict[int, str]) -> None:
        labels = {**names, IGNORE_INDEX: "ignored"}
        images, targets, predictions = (pad_to_one_size(arrays) for arrays in zip(*self.panels.values(), strict=True))
        masks = [
            {
                "target": {"mask_data": target, "class_labels": labels},
                "prediction": {"mask_data": prediction, "class_labels": labels},
            }
            for target, prediction in zip(targets, predictions, strict=True)
        ]
        logger.log_image("predictions", images, masks=masks, caption=list(self.panels))


def pad_to_one_size(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pad arrays [H, W] or [H, W, 3] to one size with 255 (ignored, or white): W&B panels need one size."""
    height, width = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    return [
        np.pad(
            array,
            [(0, height - array.shape[0]), (0, width - array.shape[1]), (0, 0)][: array.ndim],
            constant_values=IGNORE_INDEX,
        )
        for array in arrays
    ]
