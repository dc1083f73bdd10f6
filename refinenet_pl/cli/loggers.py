"""The loggers of a training: they write to the run folder, and a resumed run continues them."""

from importlib.util import find_spec
from typing import Any

from jsonargparse import Namespace

from refinenet_pl.cli.continuation import Start
from refinenet_pl.cli.wandb_run import set_up_wandb
from refinenet_pl.errors import UserError
from refinenet_pl.training.metrics_file import MetricsFile


def configured_loggers(logger: Any) -> list[Any]:
    """Return the configured loggers, which are one, several or none."""
    loggers = logger if isinstance(logger, list) else [logger]
    return [each for each in loggers if each not in (None, True, False)]


def fill_save_dir(logger: Any) -> None:
    """Give loggers that need a folder an empty one, in place: `set_up_loggers` replaces it by the run folder."""
    for each in configured_loggers(logger):
        if isinstance(each, Namespace) and class_name(each) in ("CSVLogger", "TensorBoardLogger"):
            each.init_args = each.get("init_args") or Namespace()
            each.init_args.save_dir = each.init_args.get("save_dir") or ""


def set_up_loggers(config: Namespace, start: Start) -> None:
    """Let the configured loggers write to the run folder, in place.

    Raises:
        UserError: A logger's package is not installed, or W&B does not accept its settings.
    """
    loggers = []
    for logger in configured_loggers(config.trainer.logger):
        if class_name(logger) == "WandbLogger":
            set_up_wandb(logger, config.experiment, start)
        elif class_name(logger) == "TensorBoardLogger":
            _set_up_tensorboard(logger, start)
        if class_name(logger) != "CSVLogger":  # every run has metrics.csv
            loggers.append(logger)
    config.trainer.logger = loggers or False


def _set_up_tensorboard(logger: Namespace, start: Start) -> None:
    if find_spec("tensorboard") is None and find_spec("tensorboardX") is None:
        raise UserError("trainer.logger: TensorBoardLogger needs tensorboard: pip install 'refinenet-pl[tensorboard]'")
    arguments = logger.init_args
    arguments.save_dir, arguments.name, arguments.version = str(start.folder.path), start.folder.tensorboard.name, ""
    arguments.sub_dir, arguments.default_hp_metric = None, False
    if not start.new:  # TensorBoard hides what an interrupted part wrote after its last checkpoint
        logger.dict_kwargs = {"purge_step": start.step}


def class_name(logger: Namespace) -> str:
    """Return the name of a configured class without its module."""
    return str(logger.class_path).rpartition(".")[2]


def training_loggers(configured: Any, start: Start) -> list[Any]:
    """Return the loggers of a training: metrics.csv, and those of the configuration."""
    return [MetricsFile(start.folder.path, start.step), *configured_loggers(configured)]
