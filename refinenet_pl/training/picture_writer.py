"""Pictures of validation samples: image, target, prediction and errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.evaluation.panel import panel
from refinenet_pl.evaluation.pictures import save_picture
from refinenet_pl.files import path_inside
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.task import SegmentationTask


class PictureWriter(Callback):
    """Shows the first validation samples: image, target, prediction, errors, and the IoU of each class.

    The last validation's pictures are files in `pictures/` of the trainer's `default_root_dir`.

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
        """Write one file per sample, except after a sanity check."""
        if trainer.sanity_checking:
            return
        shown = pl_module.preprocessing
        for name, sample in self.panels.items():
            path = path_inside(RunFolder(Path(trainer.default_root_dir)).pictures, f"{name}.png")
            save_picture(path, panel(*sample, shown.class_names, shown.class_colors))
