"""Predictions of videos as files: a video with overlays, and masks of its frames."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from refinenet_pl.evaluation.pictures import overlay, palette_image, save_picture
from refinenet_pl.prediction_folder import PredictionFolder
from refinenet_pl.training.prediction_writer import class_indices
from refinenet_pl.training.task import SegmentationTask
from refinenet_pl.video import VideoFile


class VideoWriter(Callback):
    """Writes a video of the overlays of each video's frames, of the same frame rate and number of frames.

    A video that cannot be read to its end leaves no file, and no masks.

    Args:
        folder: Where to write.
        opacity: Weight of the class colors, 0..1.
        masks: Whether to write the mask of each frame too.
    """

    def __init__(self, folder: PredictionFolder, opacity: float = 0.5, masks: bool = False) -> None:
        self.folder = folder
        self.opacity = opacity
        self.masks = masks
        self.file: VideoFile | None = None
        self.frame = ""

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: SegmentationTask,  # type: ignore[override]
        outputs: Tensor | None,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Append a frame."""
        if outputs is None or "video" not in batch:
            self.discard()
            return
        mask, colors = class_indices(outputs), pl_module.preprocessing.class_colors
        if self.file is None:
            self.file = VideoFile(self.folder.video(batch["video"]), batch["rate"], comment=batch["source"])
            self._delete_masks(batch["name"])
        if self.masks:
            save_picture(self.folder.mask(batch["name"]), palette_image(mask, colors))
        image = batch["image"].permute(1, 2, 0).cpu().numpy()
        self.file.add(overlay(image, mask, colors, self.opacity))
        self.frame = batch["name"]
        if batch["last"]:
            self.file.finish()
            self.file = None

    def _delete_masks(self, frame: str) -> None:
        """Delete the masks of all frames of a video, given the name of one of them."""
        for path in self.folder.mask(frame).parent.glob("*.png"):
            path.unlink()

    def discard(self) -> None:
        """Delete an unfinished video and its masks."""
        if self.file is not None:
            self.file.discard()
            self.file = None
            self._delete_masks(self.frame)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave no unfinished video."""
        self.discard()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave no unfinished video, for example if the number of steps is limited."""
        self.discard()
