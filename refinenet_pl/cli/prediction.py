"""`predict`: masks and overlays for any images."""

from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.cli.training import TrainingCLI, progress_bar
from refinenet_pl.data.images import ImagesDataModule
from refinenet_pl.errors import UserError
from refinenet_pl.training.prediction_writer import PredictionWriter, SubmissionWriter


class PredictionCLI(TrainingCLI):
    """`predict`: any images, with the network and the configuration of a checkpoint."""

    save_config = None
    data_class = None  # any images will do, whatever the network was trained on

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The command, and which of the trainer's arguments are no options."""
        return {"predict": LightningCLI.subcommands()["predict"] | {"return_predictions"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What to predict, and where to write it."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--images", nargs="+", type=str, default=[], help="Image files, and folders of images.")
        parser.add_argument("--num_workers", type=int, default=4, help="Processes that read images; 0 for none.")
        parser.add_argument("--output", type=str, default="predictions", help="Folder for masks and overlays.")
        parser.add_argument(
            "--submission",
            type=Literal["cityscapes", "voc"] | None,
            help="Write what this evaluation server takes instead, and the archive to send.",
        )

    def own_callbacks(self, config: Namespace) -> list[Any]:
        """Writes what is predicted."""
        output = Path(config.output)
        writer = SubmissionWriter(config.submission, output) if config.submission else PredictionWriter(output)
        return [writer, *progress_bar(config)]

    def predict(self, model: LightningModule, ckpt_path: str, **_: Any) -> None:
        """Predict the images."""
        config = self.config[self.subcommand]
        if not config.images:
            raise UserError("predict needs images: give --images FILES_OR_FOLDERS")
        images = ImagesDataModule([Path(path) for path in config.images], config.num_workers)
        self.trainer.predict(model, datamodule=images, ckpt_path=ckpt_path, return_predictions=False)
        if not config.submission:
            rank_zero_only(print)(f"masks and overlays: {config.output}")
