"""`fit`, `validate` and `test`: LightningCLI, with a run folder and a configuration that completes itself."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger
from torch import nn

import refinenet_pl.networks  # noqa: F401  (so that yaml can name its classes without their modules)
from refinenet_pl.cli.completion import complete
from refinenet_pl.cli.run_folder import RunFolder
from refinenet_pl.cli.saved_config import SaveConfig
from refinenet_pl.cli.wandb_run import set_up_wandb
from refinenet_pl.data import *  # noqa: F403  (so that yaml can name its classes without their modules)
from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.errors import UserError
from refinenet_pl.training.callbacks import PictureWriter
from refinenet_pl.training.costs import TrainingCosts
from refinenet_pl.training.results_writer import ResultsWriter
from refinenet_pl.training.task import SegmentationTask
from refinenet_pl.weights.folder import load_weights


class TrainingCLI(LightningCLI):
    """`fit`, `validate` and `test`."""

    run_folder: RunFolder
    save_config: type[SaveConfig] | None = SaveConfig
    data_class: type[SegmentationDataModule] | None = SegmentationDataModule

    def __init__(self) -> None:
        super().__init__(
            SegmentationTask,
            self.data_class,
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
        parser.add_argument("--experiment", type=str | None, help="Name of the run; by default the first --config's.")
        parser.add_argument("--runs", type=str, default="runs", help="Folder under which runs get theirs.")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_argument("--pictures", type=int, default=4, help="How many validation samples are pictured.")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/miou",
                "checkpoint.mode": "max",
                "checkpoint.filename": "best",
                "checkpoint.auto_insert_metric_name": False,
                "checkpoint.enable_version_counter": False,
            }
        )

    def before_instantiate_classes(self) -> None:
        """Complete the configuration and choose the run folder."""
        config = self.config[self.subcommand]
        complete(config)
        self.check_checkpoint(config)
        if config.experiment is None:
            config.experiment = Path(str(config.config[0])).stem if config.config else "unnamed"
        self.run_folder = RunFolder.choose(config, str(self.subcommand))
        if self.subcommand == "fit" and not config.trainer.fast_dev_run:
            config.checkpoint.dirpath = str(self.run_folder.path / "checkpoints")
            set_up_wandb(config, self.run_folder)
        else:
            # An evaluation's figures are its results.json, and a trial run of a few steps writes nothing.
            config.trainer.logger = False
        self.trainer_defaults["callbacks"] = self.own_callbacks(config)

    def check_checkpoint(self, config: Namespace) -> None:
        """Evaluation needs one, and then no other weights; a wrong path is told at once."""
        if config.ckpt_path and not Path(config.ckpt_path).exists():
            raise UserError(f"--ckpt_path: no file {config.ckpt_path}")
        if self.subcommand == "fit":
            if config.ckpt_path and Path(config.ckpt_path).is_dir():
                raise UserError(f"--ckpt_path: {config.ckpt_path} is a folder of weights; fit goes on from checkpoints")
            return
        if not config.ckpt_path:
            raise UserError(f"{self.subcommand} needs a trained network: give --ckpt_path RUN/checkpoints/best.ckpt")
        config.model.encoder_weights = None
        if "encoder_weights" in config.model.network.init_args:
            config.model.network.init_args.encoder_weights = None

    def after_instantiate_classes(self) -> None:
        """Load a weights folder, which Lightning could not: it must see no checkpoint then."""
        config = self.config_init[self.subcommand]
        if config.ckpt_path and Path(config.ckpt_path).is_dir():
            load_weights(self.model.network, Path(config.ckpt_path))
            config.ckpt_path = None

    def own_callbacks(self, config: Namespace) -> list[Any]:
        """Callbacks that the configuration need not name."""
        if config.trainer.fast_dev_run:
            return progress_bar(config)
        callbacks = [ResultsWriter(), PictureWriter(config.pictures), *progress_bar(config)]
        if self.subcommand == "fit":
            # On its own: `checkpoint.save_last` would save only when there is a new best one.
            last = ModelCheckpoint(
                config.checkpoint.dirpath, "last", save_on_train_epoch_end=True, enable_version_counter=False
            )
            callbacks += [TrainingCosts(), last]
        return callbacks

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
        if not self.config[self.subcommand].trainer.fast_dev_run:
            self.run_folder.announce()

    def after_fit(self) -> None:
        """Evaluate the best checkpoint on the validation split."""
        best = getattr(self.trainer.checkpoint_callback, "best_model_path", "")  # of the first, which has the monitor
        if best:
            self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False)
            self.run_folder.announce()

    def after_validate(self) -> None:
        """Say where to look."""
        self.run_folder.announce()

    def after_test(self) -> None:
        """Say where to look."""
        self.run_folder.announce()


def refuse_norms_with_activation(module: nn.Module) -> None:
    """Some of timm's batch norms hold the activation as well, which torch's synchronized ones would drop unsaid."""
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
