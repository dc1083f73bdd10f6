"""What happens around training: averaged weights, and pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, WeightAveraging
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.evaluation.pictures import panel, save_picture
from refinenet_pl.training.task import SegmentationTask


class EMA(WeightAveraging):
    """Exponential moving average of weights and batch-norm statistics, used for validation and in checkpoints.

    It starts at the first step, whose weights it copies, and warms up, so that short runs are not held back by their
    first weights: the decay at update n after that one is min(decay, (1 + n) / (10 + n)).

    Args:
        decay: Weight of the average in each update, in the long run.
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
            warm_decay = min(decay, (1 + int(updates)) / (10 + int(updates)))
            for mean, value in zip(averaged, current, strict=True):
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - warm_decay)
                else:
                    mean.copy_(value)

        # All tensors in one call: reading the number of updates stalls a GPU.
        super().__init__(multi_avg_fn=average)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Move the network first: the average stays where it is made, which is before Lightning moves the network."""
        pl_module.to(trainer.strategy.root_device)
        super().setup(trainer, pl_module, stage)


class PictureWriter(Callback):
    """Panels of image, truth and prediction: the last validation's as files in `pictures/`, each validation's in W&B.

    Args:
        count: How many samples, the first of the validation split.
    """

    def __init__(self, count: int = 4) -> None:
        self.count = count
        self.panels: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last epoch's panels."""
        self.panels = {}

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first samples of the main process."""
        if trainer.is_global_zero and len(self.panels) < self.count:
            image = batch["image"].permute(1, 2, 0).cpu().numpy()
            self.panels[batch["name"]] = (image, batch["mask"].cpu().numpy(), outputs.cpu().numpy())

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Write one file for each sample, and log one panel."""
        if trainer.sanity_checking:
            return
        for name, sample in self.panels.items():
            path = Path(trainer.default_root_dir) / "pictures" / f"{name}.png"
            save_picture(path, panel(*sample, pl_module.class_colors))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                self._log(logger, dict(enumerate(pl_module.class_names)))

    def _log(self, logger: WandbLogger, names: dict[int, str]) -> None:
        labels = {**names, IGNORE_INDEX: "void"}
        images, truths, predictions = (pad_alike(arrays) for arrays in zip(*self.panels.values(), strict=True))
        masks = [
            {
                "truth": {"mask_data": truth, "class_labels": labels},
                "prediction": {"mask_data": predicted, "class_labels": labels},
            }
            for truth, predicted in zip(truths, predictions, strict=True)
        ]
        logger.log_image("predictions", images, masks=masks, caption=list(self.panels))


def pad_alike(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays [H, W] or [H, W, 3] padded to one size with 255, void or white: W&B shows panels of one size only."""
    height, width = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    return [
        np.pad(
            array,
            [(0, height - array.shape[0]), (0, width - array.shape[1]), (0, 0)][: array.ndim],
            constant_values=IGNORE_INDEX,
        )
        for array in arrays
    ]
