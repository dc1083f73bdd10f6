"""`fit`, `validate` and `test`: LightningCLI with a run folder and a configuration that completes itself."""

from collections.abc import Iterable
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

import refinenet_pl.networks
import refinenet_pl.training.ema  # noqa: F401  (YAML can name imported classes without their modules)
from refinenet_pl.cli.completion import complete
from refinenet_pl.cli.continuation import (
    Start,
    describe,
    lock_run,
    plan_continuation,
    requeued_checkpoint,
    start_new,
)
from refinenet_pl.cli.early_checks import missing_checkpoint
from refinenet_pl.cli.loggers import fill_save_dir, set_up_loggers, training_loggers
from refinenet_pl.cli.parser import Parser
from refinenet_pl.cli.trainer_options import check_trainer, runs_alone_on_cpu, training_strategy
from refinenet_pl.cli.trainer_parts import evaluation_callbacks, trainer_plugins, training_callbacks
from refinenet_pl.data import *  # noqa: F403  (so that yaml can name its classes without their modules)
from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.errors import UserError
from refinenet_pl.files import expand
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.composition import wandb_loggers
from refinenet_pl.text import plural
from refinenet_pl.training.batch_norm import check_synchronizable
from refinenet_pl.training.checkpoints import RunCheckpoints
from refinenet_pl.training.cpu_precision import warn_of_slow_bf16
from refinenet_pl.training.final_results import log_results
from refinenet_pl.training.losses import CrossEntropy
from refinenet_pl.training.schedules import Poly
from refinenet_pl.training.task import SegmentationTask
from refinenet_pl.training.threads import use_threads
from refinenet_pl.training.wandb_artifact import log_best_checkpoint
from refinenet_pl.weights.folder import load_weights

FILES = RunFolder(Path())


class TrainingParser(Parser, LightningArgumentParser):
    """The parser of LightningCLI with short messages, and with loggers that need no folder."""

    def validate(self, namespace: Namespace, *args: Any, **options: Any) -> None:
        """Validate the configuration, in which the run folder will be the folder of the loggers."""
        for command in (namespace, namespace.get(namespace.get("subcommand") or "")):
            if isinstance(command, Namespace) and "trainer" in command:
                fill_save_dir(command.trainer.get("logger"))
        super().validate(namespace, *args, **options)


class TrainingCLI(LightningCLI):
    """`fit`, `validate` and `test`.

    Args:
        words: The command and its options, without --ckpt_path.
        checkpoint: The checkpoint or the weights folder to continue or to evaluate.
        named: Whether the command names the experiment or the folder of all runs.
        resources: What the command keeps until it ends, such as the lock of its run.
    """

    data_class: type[SegmentationDataModule] | None = SegmentationDataModule
    start: Start

    def __init__(self, words: list[str], checkpoint: Path | None, named: bool, resources: ExitStack) -> None:
        self.command = words[0]
        self.checkpoint = checkpoint
        self.named = named
        self.resources = resources
        super().__init__(
            SegmentationTask,
            self.data_class,
            subclass_mode_data=True,
            save_config_callback=None,  # RunRecorder saves it
            seed_everything_default=0,
            auto_configure_optimizers=False,
            args=words,
            parser_class=TrainingParser,
            parser_kwargs={"prog": "refinenet"},
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return this command, and the arguments of the trainer's method that are no options.

        LightningCLI would build the parsers of all commands, each of which takes as long.
        """
        return {self.command: LightningCLI.subcommands()[self.command] | {"verbose"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add options, and defaults for the model's."""
        parser.add_argument(
            "--experiment",
            type=str | None,
            help="Name of the run. By default the names of all --config files, joined by '_'.",
        )
        parser.add_argument("--runs", type=str, default="runs", help="Folder of all runs.")
        parser.add_argument(
            "--trust",
            nargs="*",
            type=str,
            metavar="CLASS",
            help="Let --ckpt_path name these classes, or all without a name. A class of a stranger's runs code.",
        )
        parser.add_argument(
            "--threads",
            type=int | None,
            help="Threads of a training or an evaluation on a CPU. By default OMP_NUM_THREADS, or else the fastest "
            "number in a short measurement. The run records it, and uses it again.",
        )
        parser.add_lightning_class_args(RunCheckpoints, "checkpoint")
        parser.add_argument("--pictures", type=int, default=4, help="Number of validation samples to save as pictures.")
        parser.set_defaults(
            {
                "trainer.enable_model_summary": False,
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

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the options. A checkpoint in a file of --config would choose arguments of the model: see LightningCLI.

        Raises:
            UserError: A file of --config names a checkpoint.
        """
        super().parse_arguments(parser, args)
        if path := self.config[self.config.subcommand].get("ckpt_path"):
            raise UserError(
                f"--config: found ckpt_path: {path} in a file; delete it there, and give --ckpt_path={path}"
            )

    def before_instantiate_classes(self) -> None:
        """Complete the configuration, and decide in which folder and from which state the run starts."""
        config = self.config[self.subcommand] = without_enums(self.config[self.subcommand])
        check_trainer(config.trainer)
        config.pop("trust", None)  # it is of this command, not of the run
        complete(config)
        config.runs = str(expand(config.runs, "runs"))
        if self.subcommand != "fit" and self.checkpoint is None:
            raise UserError(missing_checkpoint(str(self.subcommand)))
        if config.experiment is None:
            config.experiment = run_name(config.config or [])
        self.saved = self.plain_config()
        self.start = self.plan_start(config)
        if runs_alone_on_cpu(config.trainer):
            earlier = None if self.start.new else self.start.folder.read_config().get("threads")
            config.threads = self.saved["threads"] = use_threads(earlier if config.threads is None else config.threads)
            warn_of_slow_bf16(config.trainer.precision)
        if self.subcommand == "fit" and not config.trainer.fast_dev_run:
            config.checkpoint.dirpath = str(self.run_folder.checkpoints)
            set_up_loggers(config, self.start)
        elif self.subcommand != "fit":  # the metrics of an evaluation are in its results
            config.trainer.logger = False
        if self.checkpoint is not None:
            take_weights_from_checkpoint(config)
            config.ckpt_path = None if self.checkpoint.is_dir() else str(self.checkpoint)
            self.saved["ckpt_path"] = None if self.subcommand == "fit" else str(self.checkpoint)
        self.trainer_defaults["callbacks"] = self.default_callbacks(config)

    @property
    def run_folder(self) -> RunFolder:
        """The folder that the run writes to."""
        return self.start.folder

    def plain_config(self) -> dict[str, Any]:
        """Return the whole configuration of the command as plain values."""
        config: dict[str, Any] = yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self.subcommand]
        return config

    def plan_start(self, config: Namespace) -> Start:
        """Decide where and from which state the run starts. Nothing is written, and a running run is locked."""
        if self.subcommand != "fit":
            return start_new(RunFolder.create_name(config.runs, config.experiment, f"-{self.subcommand}"))
        folder = RunFolder.create_name(config.runs, config.experiment)
        # A job that is started again continues its own run, also if its command names an older checkpoint.
        requeued = None if config.trainer.fast_dev_run else requeued_checkpoint(folder, self.saved)
        self.checkpoint = requeued or self.checkpoint
        start = start_new(folder)
        if self.checkpoint is not None:
            start = plan_continuation(self.checkpoint, self.saved, folder, self.named and requeued is None)
        if not start.new:
            lock_run(start.folder, self.resources)
        return start

    def after_instantiate_classes(self) -> None:
        """Load a weights folder, which Lightning cannot."""
        if self.checkpoint is not None and self.checkpoint.is_dir():
            load_weights(self.model.network, self.checkpoint)

    def default_callbacks(self, config: Namespace) -> list[Any]:
        """Return the callbacks that every run has."""
        if self.subcommand == "fit":
            return training_callbacks(config, self.start, self.saved)
        return evaluation_callbacks(config, self.start, self.saved)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Return a trainer that writes to the run folder; training always logs its metrics as CSV."""
        options = self.config_init[self.subcommand].trainer
        if self.subcommand == "fit":
            # In a trial run of a few steps (fast_dev_run), Lightning replaces the loggers by one that writes nothing.
            if not options.fast_dev_run:
                kwargs["logger"] = training_loggers(options.logger, self.start)
            kwargs["strategy"] = training_strategy(options.strategy)
        kwargs["plugins"] = trainer_plugins(options.plugins)
        return super().instantiate_trainer(default_root_dir=str(self.run_folder.path), **kwargs)

    def before_fit(self) -> None:
        """Check the network and the data before anything is written, and print where the run starts."""
        if self.config[self.subcommand].trainer.sync_batchnorm:
            check_synchronizable(self.model.network)
        self.list_data()
        if not self.config[self.subcommand].trainer.fast_dev_run:
            if self.start.new:
                lock_run(self.run_folder, self.resources)
            self.announce_start()

    @rank_zero_only
    def list_data(self) -> None:
        """List and check the samples, so that mistakes are reported before anything is written or logged."""
        self.datamodule.prepare_data()
        for split in ("train", "val"):
            self.datamodule.dataset(split)
        if self.datamodule.skip_broken == 0:  # else only after broken samples are left out
            self.datamodule.check_training_data()

    def after_fit(self) -> None:
        """Evaluate the best checkpoint on the validation split; the last one if no validation chose a best one."""
        if self.config[self.subcommand].trainer.fast_dev_run:
            return
        # The trainer's own first checkpoint callback can be one of the user's. Only this callback knows the folder of
        # the main process in every process, and all must evaluate.
        checkpoints = self.config_init[self.subcommand].checkpoint
        best = checkpoints.best_model_path
        checkpoint = best or str(checkpoints.last)
        if not self.trainer.limit_val_batches:
            self.tell(
                "no results.json is written, because trainer.limit_val_batches is 0. To evaluate: refinenet validate "
                f"--ckpt_path {self.run_folder.last_checkpoint}"
            )
        elif not Path(checkpoint).is_file():
            self.tell("not evaluated: the training ended before it saved a checkpoint")
        else:
            if not best:
                self.tell(f"no validation within the training chose a best checkpoint: evaluating {checkpoint}")
            self.evaluate(checkpoint)
        self.announce()

    def evaluate(self, checkpoint: str) -> None:
        """Evaluate a checkpoint of the training, and log the results: it is no validation of one more epoch."""
        loggers, self.trainer.loggers = self.trainer.loggers, []
        self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path=checkpoint, verbose=False)
        self.trainer.loggers = loggers
        log_results(self.trainer, self.run_folder)
        if any(logger["init_args"].get("log_model") for logger in wandb_loggers(self.saved)):
            log_best_checkpoint(self.trainer, self.run_folder)

    def validate(self, **arguments: Any) -> None:
        """Evaluate on the validation split, without Lightning's table of the same metrics."""
        self.trainer.validate(**arguments, verbose=False)

    def test(self, **arguments: Any) -> None:
        """Evaluate on the test split, as `validate` does."""
        self.trainer.test(**arguments, verbose=False)

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

    def announce_start(self) -> None:
        """Print the run folder, and what a continuation changes."""
        if self.start.checkpoint is not None:
            self.tell(f"continuing from step {self.start.step} of {self.start.checkpoint}")
        if self.start.changes:
            self.tell(f"changed from there on: {describe(self.start.changes)}")
        self.tell(f"training {describe_network(self.model.network)} on {describe_devices(self.trainer)}")
        self.announce()

    @rank_zero_only
    def tell(self, message: str) -> None:
        """Print a message once for all processes."""
        print(message)


def without_enums(value: Any) -> Any:
    """Return a configuration with text in place of enumerations.

    Lightning's Timer has one as the default of an argument that is annotated as text, and YAML cannot represent it.
    """
    if isinstance(value, Namespace):
        return Namespace(**{key: without_enums(item) for key, item in vars(value).items()})
    if isinstance(value, dict):
        return {key: without_enums(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_enums(item) for item in value]
    return value.value if isinstance(value, Enum) and isinstance(value, str) else value


def take_weights_from_checkpoint(config: Namespace) -> None:
    """Load no other weights: the checkpoint holds all of them, and the files may be gone."""
    config.model.encoder_weights = config.model.weights = None
    if "encoder_weights" in config.model.network.init_args:
        config.model.network.init_args.encoder_weights = None


def describe_network(network: nn.Module) -> str:
    """Return the class of a network and its number of parameters."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return f"{type(network).__name__} ({parameters / 1e6:.1f} M parameters)"


def describe_devices(trainer: Trainer) -> str:
    """Return the number and kind of the devices, and the precision."""
    devices = plural(trainer.num_devices * trainer.num_nodes, "device")
    return f"{devices} ({trainer.strategy.root_device.type}), {trainer.precision}"


def run_name(configs: Iterable[Any]) -> str:
    """Name a run after its configuration files: their names without suffix, joined by "_"."""
    # A configuration that was given as text, such as a checkpoint's, has no file: None.
    return "_".join(Path(str(config)).stem for config in configs if config is not None) or "unnamed"
