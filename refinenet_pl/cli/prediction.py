"""`predict`: masks and overlays for any images."""

from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.cli.trainer_parts import run_progress
from refinenet_pl.cli.training import TrainingCLI
from refinenet_pl.data.unlabeled import ImagesDataModule
from refinenet_pl.errors import UserError
from refinenet_pl.training.interruption import Interruption
from refinenet_pl.training.prediction_writer import PredictionWriter
from refinenet_pl.training.submission_writer import SubmissionWriter
from refinenet_pl.training.unreadable_images import UnreadableImages


class PredictionCLI(TrainingCLI):
    """`predict`: predicts any images with the network and the configuration of a checkpoint."""

    data_class = None  # the images need not come from the dataset that the network was trained on

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the command, and the arguments of the trainer's method that are no options."""
        return {"predict": LightningCLI.subcommands()["predict"] | {"return_predictions"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options for images and output."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--images", nargs="+", type=str, default=[], help="Image files and folders of images.")
        parser.add_argument("--num_workers", type=int, default=4, help="Processes that read images; 0 uses this one.")
        parser.add_argument("--output", type=str, default="predictions", help="Folder for masks and overlays.")
        parser.add_argument(
            "--submission",
            type=Literal["cityscapes", "voc"] | None,
            help="Write the files and the archive for this evaluation server instead.",
        )

    def default_callbacks(self, config: Namespace) -> list[Any]:
        """Return the callbacks that write the predictions and report unreadable images, and the progress."""
        if config.submission:
            # No archive is written if an image is missing in it.
            writers = [UnreadableImages(), SubmissionWriter(config.submission, config.output)]
        else:
            writers = [PredictionWriter(config.output), UnreadableImages()]
        return [*writers, *run_progress(config), Interruption()]

    def predict(self, model: LightningModule, ckpt_path: str, **_: Any) -> None:
        """Predict the images."""
        config = self.config[self.subcommand]
        if not config.images:
            raise UserError("predict needs images: give --images with image files or folders of images")
        images = ImagesDataModule([Path(path) for path in config.images], config.num_workers)
        self.trainer.predict(model, datamodule=images, ckpt_path=ckpt_path, return_predictions=False)
        if not config.submission:
            rank_zero_only(print)(f"masks and overlays: {config.output}")
