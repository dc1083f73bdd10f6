"""Pictures of some validation samples for W&B and TensorBoard, the same ones at each validation."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.rare_classes import rare_class_samples
from refinenet_pl.training.finite import gather
from refinenet_pl.training.media import Picture, log_pictures, logged_step, shows_media
from refinenet_pl.training.task import SegmentationTask


class PictureLogger(Callback):
    """Logs predictions of the same samples at each validation of a training.

    The samples show the rarest classes of the validation split, whatever the seed or the network: see
    `rare_class_samples`. A logger gets `pictures/NAME`, the image and its truth, once. Each validation it gets
    `predictions/NAME`: the prediction, and its errors, which are the predicted classes of the wrong pixels.

    Args:
        count: Number of samples.
    """

    def __init__(self, count: int = 4) -> None:
        self.count = count
        self.names: list[str] = []
        self.sent: list[str] = []
        self.shown: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the names of the samples, and the loggers that have their images."""
        return {"names": self.names, "sent": self.sent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the names of the samples, and the loggers that have their images."""
        self.names, self.sent = list(state_dict["names"]), list(state_dict["sent"])

    def is_on(self, trainer: pl.Trainer) -> bool:
        """Return whether a validation is logged."""
        logged = trainer.state.fn == "fit" and not trainer.sanity_checking
        return logged and self.count > 0 and any(map(shows_media, trainer.loggers))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the samples at the first validation."""
        self.shown = {}
        if self.is_on(trainer) and not self.names:
            loader: Any = trainer.val_dataloaders
            if trainer.is_global_zero:
                # The processes take turns, so that these samples are in the validation if its batches are limited.
                length = sum(trainer.num_val_batches) * (loader.batch_size or 1) * trainer.world_size
                self.names = rare_class_samples(loader.dataset, self.count, int(length))
            self.names = trainer.strategy.broadcast(self.names)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: list[dict[str, Any]], *_: Any
    ) -> None:
        """Keep the chosen samples."""
        if not self.is_on(trainer):
            return
        for sample, prediction in zip(batch, outputs["predictions"], strict=True):
            if sample["name"] in self.names:
                image = sample["image"].permute(1, 2, 0).cpu().numpy()
                self.shown[sample["name"]] = (image, sample["mask"].cpu().numpy(), prediction.cpu().numpy())

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Log the pictures of all processes."""
        if not self.is_on(trainer):
            return
        found = {name: arrays for part in gather(self.shown) for name, arrays in part.items()}
        self.shown = {name: found[name] for name in self.names if name in found}
        for logger in filter(shows_media, trainer.loggers):
            pictures = self.predictions()
            if (kind := type(logger).__name__) not in self.sent:
                pictures |= self.images()
                self.sent.append(kind)
            if trainer.is_global_zero:
                log_pictures(logger, pictures, pl_module.preprocessing, logged_step(trainer))
        self.shown = {}

    def images(self) -> dict[str, Picture]:
        """Return each image with its truth."""
        return {f"pictures/{name}": Picture({"truth": truth}, image) for name, (image, truth, _) in self.shown.items()}

    def predictions(self) -> dict[str, Picture]:
        """Return each prediction with its errors."""
        return {
            f"predictions/{name}": Picture({"prediction": prediction, "error": errors(prediction, truth)})
            for name, (_, truth, prediction) in self.shown.items()
        }


def errors(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the predicted classes at the wrong pixels, uint8 [H, W]; 255 at right and ignored ones."""
    wrong = (prediction != truth) & (truth != IGNORE_INDEX)
    return np.where(wrong, prediction, IGNORE_INDEX).astype(np.uint8)
