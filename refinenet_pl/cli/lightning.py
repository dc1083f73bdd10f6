"""fit, validate, test and predict: LightningCLI, with a run folder and a configuration that completes itself."""

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

import refinenet_pl.networks  # noqa: F401  (so that yaml can name its classes without their modules)
from refinenet_pl.cli.completion import complete
from refinenet_pl.cli.run_folder import RunFolder
from refinenet_pl.cli.wandb_run import set_up_wandb
from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.data.images import ImagesDataModule
from refinenet_pl.errors import UserError
from refinenet_pl.training.callbacks import Pictures, PredictionWriter, ResultsWriter
from refinenet_pl.training.task import SegmentationTask

CONFIG_KEY = "refinenet_config"
IRRELEVANT_WARNINGS = (
    "Experiment logs directory .* exists",  # a resumed run's earlier metrics were moved aside
    "Checkpoint directory .* exists",  # a resumed run's own
    "Found .* module\\(s\\) in eval mode",  # frozen batch norm, as asked for
    "Couldn't infer the batch indices",  # samples come with their names
    "You're using the WeightAveraging callback, but loading a checkpoint outside",  # which holds the averaged weights
    ".*isinstance\\(treespec, LeafSpec\\)",  # between Lightning and torch
)


class SaveConfig(SaveConfigCallback):
    """Keeps the configuration in the run folder, in every checkpoint, and with the loggers."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand it to the loggers; the parent has written the file."""
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger):  # which would write the same file again
                logger.log_hyperparams(yaml.safe_load(self._text()))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """A checkpoint can then be evaluated wherever it is moved."""
        checkpoint[CONFIG_KEY] = self._text()

    def _text(self) -> str:
        return self.parser.dump(self.config, skip_none=False)


class TrainingCLI(LightningCLI):
    """`fit`, `validate` and `test`."""

    run_folder: RunFolder
    save_config: type[SaveConfig] | None = SaveConfig

    def __init__(self) -> None:
        super().__init__(
            SegmentationTask,
            SegmentationDataModule,
            subclass_mode_data=True,
            save_config_callback=self.save_config,
            save_config_kwargs={"overwrite": True},  # only a resumed run finds its own file there
            seed_everything_default=0,
            auto_configure_optimizers=False,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The commands, and which of the trainer's arguments are no options."""
        return {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Options beside the trainer's, the model's and the data's."""
        parser.add_argument("--experiment", type=str | None, help="Name of the run; by default the --config file's.")
        parser.add_argument("--runs", type=str, default="runs", help="Folder under which runs get theirs.")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_argument("--pictures", type=int, default=4, help="How many validation samples are pictured.")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/miou",
                "checkpoint.mode": "max",
                "checkpoint.save_last": True,
                "checkpoint.filename": "best",
                "checkpoint.auto_insert_metric_name": False,
                "checkpoint.enable_version_counter": False,
            }
        )

    def before_instantiate_classes(self) -> None:
        """Complete the configuration and choose the run folder."""
        config = self.config[self.subcommand]
        complete(config)
        if self.subcommand != "fit" and not config.ckpt_path:
            raise UserError(f"{self.subcommand} needs a trained network: give --ckpt_path RUN/checkpoints/best.ckpt")
        if config.experiment is None:
            config.experiment = Path(str(config.config[-1])).stem if config.config else "unnamed"
        self.run_folder = RunFolder.choose(config, str(self.subcommand))
        if self.subcommand == "fit":
            config.checkpoint.dirpath = str(self.run_folder.path / "checkpoints")
            set_up_wandb(config, self.run_folder)
        else:
            config.trainer.logger = False  # an evaluation's figures are its results.json
        self.trainer_defaults["callbacks"] = self.own_callbacks(config)

    def own_callbacks(self, config: Namespace) -> list[Any]:
        """Callbacks that every run has; a trial run of a few steps writes nothing."""
        if config.trainer.fast_dev_run:
            return progress_bar(config)
        return [ResultsWriter(), Pictures(config.pictures), *progress_bar(config)]

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, writing to the run folder; training always keeps its figures as CSV."""
        configured = self.config_init[self.subcommand].trainer.logger
        if self.subcommand == "fit" and configured is not False:
            listed = configured if isinstance(configured, list) else [configured]
            self.run_folder.keep_earlier_metrics()
            csv = CSVLogger(self.run_folder.path, name="", version="")
            kwargs["logger"] = [csv, *(logger for logger in listed if logger not in (None, True))]
        return super().instantiate_trainer(default_root_dir=str(self.run_folder.path), **kwargs)

    def before_fit(self) -> None:
        """Say where to look."""
        if self.config[self.subcommand].trainer.sync_batchnorm:
            refuse_norms_with_activation(self.model)
        self.run_folder.announce()

    def after_fit(self) -> None:
        """Evaluate the best checkpoint on the validation split."""
        if getattr(self.trainer.checkpoint_callback, "best_model_path", ""):
            self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path="best", verbose=False)
        self.run_folder.announce()

    def after_validate(self) -> None:
        """Say where to look."""
        self.run_folder.announce()

    def after_test(self) -> None:
        """Say where to look."""
        self.run_folder.announce()


def refuse_norms_with_activation(module: nn.Module) -> None:
    """Some of timm's batch norms hold the activation as well, which torch's synchronised ones would drop unsaid."""
    for name, norm in module.named_modules():
        if isinstance(norm, nn.BatchNorm2d) and type(norm) is not nn.BatchNorm2d:
            raise UserError(
                f"trainer.sync_batchnorm would lose the activation within {name} ({type(norm).__name__}); leave it "
                "out, freeze with model.batch_norm, or take an encoder with plain batch norm"
            )


def progress_bar(config: Namespace) -> list[RichProgressBar]:
    """A bar on which learning rates of 1e-5 do not read 0.000, unless none is wanted."""
    if config.trainer.enable_progress_bar is False:
        return []
    return [RichProgressBar(theme=RichProgressBarTheme(metrics_format=".3g"))]


class PredictionCLI(TrainingCLI):
    """`predict`: any images, with the network and the configuration of a checkpoint."""

    save_config = None

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The command, and which of the trainer's arguments are no options."""
        return {"predict": LightningCLI.subcommands()["predict"] | {"return_predictions"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What to predict, and where to write it."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--images", nargs="+", type=str, default=[], help="Image files, and folders of images.")
        parser.add_argument("--output", type=str, default="predictions", help="Folder for masks and overlays.")

    def own_callbacks(self, config: Namespace) -> list[Any]:
        """Writes what is predicted."""
        return [PredictionWriter(Path(config.output)), *progress_bar(config)]

    def predict(self, model: LightningModule, ckpt_path: str, **_: Any) -> None:
        """Predict the images, whatever data the network was trained on."""
        config = self.config[self.subcommand]
        if not config.images:
            raise UserError("predict needs images: give --images FILES_OR_FOLDERS")
        images = ImagesDataModule([Path(path) for path in config.images], config.data.init_args.num_workers)
        self.trainer.predict(model, datamodule=images, ckpt_path=ckpt_path, return_predictions=False)
        rank_zero_only(print)(f"masks and overlays: {config.output}")


COMMANDS = {"fit": TrainingCLI, "validate": TrainingCLI, "test": TrainingCLI, "predict": PredictionCLI}


def run(args: list[str]) -> None:
    """Run a command, the first of `args`; its checkpoint's configuration stands in where none is given."""
    checkpoint = option(args, "--ckpt_path")
    if checkpoint and not option(args, "--config") and not option(args, "-c"):
        args = [args[0], "--config", checkpoint_config(Path(checkpoint)), *args[1:]]
    for message in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message)
    # Lightning reads the process's arguments, and starts the other processes of a multi-GPU run with them.
    sys.argv[1:] = args
    COMMANDS[args[0]]()


def option(args: list[str], name: str) -> str | None:
    """The value of an option on a command line, written `--name value` or `--name=value`."""
    for word, following in zip(args, [*args[1:], ""], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def checkpoint_config(path: Path) -> str:
    """The configuration, as yaml, that a checkpoint was trained with.

    Raises:
        UserError: No such file, or none of ours.
    """
    if not path.is_file():
        raise UserError(f"--ckpt_path: no file {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or unsafe file
        raise UserError(f"--ckpt_path: cannot read {path} safely: {error}") from error
    if CONFIG_KEY not in checkpoint:
        raise UserError(f"--ckpt_path: {path} holds no configuration; give it with --config as well")
    return checkpoint[CONFIG_KEY]
