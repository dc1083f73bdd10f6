"""`fit`, `validate` and `test`: LightningCLI with a run folder and a configuration that completes itself."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins import CheckpointIO
from pytorch_lightning.utilities import rank_zero_only

import refinenet_pl.networks
import refinenet_pl.training.ema  # noqa: F401  (YAML can name imported classes without their modules)
from refinenet_pl.cli.completion import complete
from refinenet_pl.cli.saved_config import SaveConfig, dump
from refinenet_pl.cli.wandb_run import set_up_wandb
from refinenet_pl.data import *  # noqa: F403  (so that yaml can name its classes without their modules)
from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.batch_norm import check_synchronizable
from refinenet_pl.training.checkpoint_files import CheckpointFiles
from refinenet_pl.training.checkpoints import RunCheckpoints
from refinenet_pl.training.costs import TrainingCosts
from refinenet_pl.training.interruption import Interruption
from refinenet_pl.training.losses import CrossEntropy
from refinenet_pl.training.picture_writer import PictureWriter
from refinenet_pl.training.random_state import RandomState
from refinenet_pl.training.results_writer import ResultsWriter
from refinenet_pl.training.resume_position import ResumePosition
from refinenet_pl.training.schedules import Poly
from refinenet_pl.training.task import SegmentationTask
from refinenet_pl.weights.folder import load_weights

FILES = RunFolder(Path())


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
            save_config_kwargs={"overwrite": True},  # only a resumed run finds a file, which is its own
            seed_everything_default=0,
            auto_configure_optimizers=False,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the commands, and the arguments of the trainer's method that are no options."""
        return {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add options, and defaults for the model's."""
        parser.add_argument(
            "--experiment",
            type=str | None,
            help="Name of the run. By default the names of all --config files, joined by '_'.",
        )
        parser.add_argument("--runs", type=str, default="runs", help="Folder of all runs.")
        parser.add_lightning_class_args(RunCheckpoints, "checkpoint")
        parser.add_argument("--pictures", type=int, default=4, help="Number of validation samples to save as pictures.")
        parser.set_defaults(
            {
                "checkpoint.monitor": "val/miou",
                "checkpoint.mode": "max",
                "checkpoint.filename": FILES.best_checkpoint.stem,
                "checkpoint.auto_insert_metric_name": False,
                "checkpoint.enable_version_counter": False,
                # The task has the same defaults. Here they are named, so that the saved configuration names them.
                "model.loss": {"class_path": f"{CrossEntropy.__module__}.{CrossEntropy.__qualname__}"},
                "model.schedule": {"class_path": f"{Poly.__module__}.{Poly.__qualname__}"},
            }
        )

    def before_instantiate_classes(self) -> None:
        """Complete the configuration and choose the run folder."""
        config = self.config[self.subcommand]
        complete(config)
        self.check_checkpoint(config)
        if config.experiment is None:
            config.experiment = run_name(config.config or [])
        self.run_folder = choose_run_folder(config, str(self.subcommand))
        if self.subcommand == "fit" and not config.trainer.fast_dev_run:
            config.checkpoint.dirpath = str(self.run_folder.checkpoints)
            set_up_wandb(config, self.run_folder)
        else:
            # The metrics of an evaluation are in its results. A trial run of a few steps writes nothing.
            config.trainer.logger = False
        self.trainer_defaults["callbacks"] = self.default_callbacks(config)

    def check_checkpoint(self, config: Namespace) -> None:
        """Check --ckpt_path before anything is loaded; evaluation takes all weights from it."""
        if config.ckpt_path and not Path(config.ckpt_path).exists():
            raise UserError(f"--ckpt_path: no file {config.ckpt_path}")
        if self.subcommand == "fit":
            return
        if not config.ckpt_path:
            raise UserError(
                f"{self.subcommand} needs a trained network: give --ckpt_path with a checkpoint, such as "
                f"RUN/{FILES.best_checkpoint}, a run folder or a weights folder"
            )
        config.model.encoder_weights = None
        if "encoder_weights" in config.model.network.init_args:
            config.model.network.init_args.encoder_weights = None

    def after_instantiate_classes(self) -> None:
        """Load a weights folder, and hide it from Lightning, which can load checkpoints only."""
        config = self.config_init[self.subcommand]
        if config.ckpt_path and Path(config.ckpt_path).is_dir():
            load_weights(self.model.network, Path(config.ckpt_path))
            config.ckpt_path = None

    def default_callbacks(self, config: Namespace) -> list[Any]:
        """Return the callbacks that every run has."""
        if config.trainer.fast_dev_run:
            return progress_bar(config)
        saved = yaml.safe_load(dump(self._parser(self.subcommand), config))
        callbacks = [ResultsWriter(saved), PictureWriter(config.pictures), *progress_bar(config)]
        if self.subcommand == "fit":
            callbacks += [TrainingCosts(), ResumePosition(), RandomState()]
        last = self.run_folder.last_checkpoint if self.subcommand == "fit" else None
        return [*callbacks, Interruption(last)]

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return a trainer that writes to the run folder; training always logs its metrics as CSV."""
        configured = self.config_init[self.subcommand].trainer.logger
        if self.subcommand == "fit" and configured is not False:
            loggers = configured if isinstance(configured, list) else [configured]
            rank_zero_only(self.run_folder.set_metrics_aside)()
            csv = CSVLogger(self.run_folder.path, name="", version="")
            kwargs["logger"] = [csv, *(logger for logger in loggers if logger not in (None, True))]
        plugins = self.config_init[self.subcommand].trainer.plugins or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs["plugins"] = [*plugins, CheckpointFiles()]
        return super().instantiate_trainer(default_root_dir=str(self.run_folder.path), **kwargs)

    def before_fit(self) -> None:
        """Check the network, and print the run folder."""
        if self.config[self.subcommand].trainer.sync_batchnorm:
            check_synchronizable(self.model.network)
        if not self.config[self.subcommand].trainer.fast_dev_run:
            self.announce()

    def after_fit(self) -> None:
        """Evaluate the best checkpoint on the validation split."""
        # The trainer's first checkpoint callback is the one that monitors a metric.
        best = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        if best:
            self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path=best, verbose=False)
            self.announce()

    def after_validate(self) -> None:
        """Print the run folder."""
        self.announce()

    def after_test(self) -> None:
        """Print the run folder."""
        self.announce()

    @rank_zero_only
    def announce(self) -> None:
        """Print the run folder."""
        print(f"run folder: {self.run_folder.path}")


def run_name(configs: Iterable[Any]) -> str:
    """Name a run after its configuration files: their names without suffix, joined by "_"."""
    # A configuration that was given as text, such as a checkpoint's, has no file: None.
    return "_".join(Path(str(config)).stem for config in configs if config is not None) or "unnamed"


def choose_run_folder(config: Namespace, command: str) -> RunFolder:
    """Return the folder of the run that `fit` resumes, or a new one. Nothing is created yet."""
    if command != "fit":
        return RunFolder.create_name(config.runs, config.experiment, f"-{command}")
    resumed = RunFolder.of_checkpoint(config.ckpt_path) if config.ckpt_path else None
    return resumed or RunFolder.create_name(config.runs, config.experiment)


def progress_bar(config: Namespace) -> list[RichProgressBar]:
    """Return a progress bar that shows small learning rates, such as 1e-5, with three digits; none if it is off."""
    if config.trainer.enable_progress_bar is False:
        return []
    return [RichProgressBar(theme=RichProgressBarTheme(metrics_format=".3g"))]
