"""`predict`: masks, overlays and more for any images and videos."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from jsonargparse.typing import ClosedUnitInterval
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.cli.trainer_parts import run_progress
from refinenet_pl.cli.training import TrainingCLI
from refinenet_pl.data.unlabeled import ImagesDataModule
from refinenet_pl.errors import UserError
from refinenet_pl.files import file_digest
from refinenet_pl.outputs import Output, check_outputs
from refinenet_pl.prediction_folder import PredictionFolder
from refinenet_pl.training.interruption import Interruption
from refinenet_pl.training.prediction_summary import PredictionSummary
from refinenet_pl.training.prediction_writer import PredictionWriter
from refinenet_pl.training.submission_writer import SubmissionWriter
from refinenet_pl.training.task import SegmentationTask
from refinenet_pl.training.unreadable_images import UnreadableImages
from refinenet_pl.training.video_writer import VideoWriter
from refinenet_pl.weights.folder import WEIGHTS


class PredictionCLI(TrainingCLI):
    """`predict`: predicts any images with the network and the configuration of a checkpoint."""

    data_class = None  # the images need not come from the dataset that the network was trained on

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return the command, and the arguments of the trainer's method that are no options."""
        return {"predict": LightningCLI.subcommands()["predict"] | {"return_predictions"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options for images and output."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--images", nargs="+", type=str, default=[], help="Image files, folders of images, videos.")
        parser.add_argument("--num_workers", type=int, default=4, help="Processes that read images; 0 uses this one.")
        parser.add_argument("--output", type=str, default="predictions", help="Folder for all results.")
        parser.add_argument(
            "--opacity",
            type=ClosedUnitInterval,
            default=0.5,
            help="Weight of the class colors in overlays; 0 draws contours.",
        )
        parser.add_argument("--probabilities", type=bool, default=False, help="Write the probabilities of images too.")
        parser.add_argument("--video_masks", type=bool, default=False, help="Write the mask of each frame of a video.")
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
            return [*writers, *run_progress(config), Interruption()]
        folder = PredictionFolder(config.output, config.probabilities)
        writers = [
            PredictionWriter(folder, config.opacity),
            VideoWriter(folder, config.opacity, config.video_masks),
            PredictionSummary(folder, lambda: {"checkpoint_path": str(self.checkpoint), **self.prediction_settings}),
            UnreadableImages(),
        ]
        return [*writers, *run_progress(config), Interruption(again="; to go on, run the same command again")]

    def predict(self, model: SegmentationTask, ckpt_path: str, **_: Any) -> None:
        """Predict the images."""
        config = self.config[self.subcommand]
        if not config.images:
            raise UserError("predict needs images: give --images with image files, folders of images, or videos")
        folder = None if config.submission else PredictionFolder(config.output, config.probabilities)
        images = ImagesDataModule(config.images, config.num_workers, folder)
        if folder is None and images.videos:
            raise UserError(f"--images: {images.videos[0].path} is a video, but --submission takes only images")
        if folder is not None:
            model.predicts_probabilities = config.probabilities
            outputs = planned_outputs(folder, images)
            check_outputs(outputs, "--output")
            folder.check(self.prediction_settings, (output.path for output in outputs))
            if config.probabilities and images.videos:
                rank_zero_only(print)("probabilities are written for images only, not for the frames of videos")
        self.trainer.predict(model, datamodule=images, ckpt_path=ckpt_path, return_predictions=False)

    @cached_property
    def prediction_settings(self) -> dict[str, Any]:
        """Return what the predictions of an image depend on, for the manifest of their folder."""
        assert self.checkpoint is not None
        weights = self.checkpoint / WEIGHTS if self.checkpoint.is_dir() else self.checkpoint
        model = self.saved["model"]
        return {
            "checkpoint": file_digest(weights),
            "model": {key: model[key] for key in ("network", "preprocessing", "inference")},
            "precision": self.saved["trainer"]["precision"],
            **{key: self.saved[key] for key in ("opacity", "probabilities", "video_masks")},
        }


def planned_outputs(folder: PredictionFolder, images: ImagesDataModule) -> list[Output]:
    """Return the files that a prediction will write, with the files that they are made from."""
    samples = [
        (path, Path(str(image.image))) for image in images.dataset.samples for path in folder.of_image(image.name)
    ]
    videos = [(folder.video(video.name), video.path) for video in images.videos]
    made = [Output(path, source) for path, source in [*samples, *videos]]
    return [*made, *(Output(path, made[0].source) for path in folder.of_all())]
