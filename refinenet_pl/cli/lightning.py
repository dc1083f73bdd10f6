"""Runs the commands of LightningCLI: finds the checkpoint, and its configuration."""

import argparse
import logging
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path

from refinenet_pl.cli.continuation import NothingLeft
from refinenet_pl.cli.prediction import PredictionCLI
from refinenet_pl.cli.saved_config import checkpoint_config
from refinenet_pl.cli.torchrun import use_new_port
from refinenet_pl.cli.training import TrainingCLI
from refinenet_pl.cli.wandb_run import failure_told
from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.interruption import handlers_restored

COMMANDS = {"fit": TrainingCLI, "validate": TrainingCLI, "test": TrainingCLI, "predict": PredictionCLI}
QUIET_LOGGERS = (
    "pytorch_lightning.utilities.rank_zero",
    "lightning_fabric.utilities.rank_zero",
    "lightning_fabric.utilities.seed",
)
"""They name devices that are not there, adverts, the seed, and every file that is read."""
IRRELEVANT_WARNINGS = (
    "LightningCLI's args parameter",  # the arguments are the process's, without the checkpoint
    "Checkpoint directory .* exists",  # it belongs to the resumed run
    "Found .* module\\(s\\) in eval mode",  # frozen batch norm, as configured
    "It is recommended to use `self.log\\('(val|test)/",  # these metrics are summed over the devices already
    "Couldn't infer the batch indices",  # samples have names
    "predict returned None",  # for an image that could not be read; it is named at the end
    "The dirpath has changed from",  # an evaluation has a folder of its own
    "You're using the WeightAveraging callback, but loading a checkpoint outside",  # it holds the averaged weights
    "Be aware that when using `ckpt_path`, callbacks used to create",  # evaluation does not need them
    ".*isinstance\\(treespec, LeafSpec\\)",  # Lightning uses what torch deprecates
)


def run(name: str, args: list[str]) -> None:
    """Run a command.

    Args:
        name: The command.
        args: Its options.
    """
    sys.argv[1:] = [name, *args]  # Lightning starts the other processes of a multi-GPU run with them
    for name_of_logger in QUIET_LOGGERS:
        logging.getLogger(name_of_logger).setLevel(logging.WARNING)
    for message in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message)
    options, checkpoint = split_checkpoint(name, args)
    use_new_port()
    try:
        with ExitStack() as resources, failure_told(), handlers_restored():
            COMMANDS[name]([name, *options], checkpoint, names_folder(args), resources)
    except NothingLeft as reason:
        print(reason)


def split_checkpoint(command: str, args: list[str]) -> tuple[list[str], Path | None]:
    """Take the checkpoint out of the options, and give them its configuration if they have none.

    LightningCLI does not see the checkpoint: it would let the file choose arguments of the model.

    Args:
        command: The command.
        args: Its options.

    Returns:
        The options without --ckpt_path, and the checkpoint's file or the weights folder. For a run folder: its last
        checkpoint for `fit`, else its best one.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ckpt_path", nargs="?")
    given, options = parser.parse_known_args(args)
    if not given.ckpt_path:
        return options, None
    checkpoint = find_checkpoint(command, Path(given.ckpt_path))
    # A weights folder does not describe the data: its configuration comes first, and --config adds to it.
    if checkpoint.is_dir() or not gives(options, "--config", "-c"):
        options = ["--config", checkpoint_config(checkpoint, command, trusted_classes(options)), *options]
    return options, checkpoint


def find_checkpoint(command: str, path: Path) -> Path:
    """Return the checkpoint that a path of the user means; raises UserError if there is none."""
    run = RunFolder(path)
    if run.config.is_file():
        return run.last_checkpoint if command == "fit" else run.best_checkpoint
    if not path.exists():
        raise UserError(f"--ckpt_path: no file {path}")
    if command == "fit" and path.is_dir():
        raise UserError(
            f"--ckpt_path: {path} holds weights only, and fit continues a training; to start a new training from these "
            f"weights, give --model.weights={path}"
        )
    return path


def trusted_classes(options: list[str]) -> set[str] | None:
    """Return the classes that a checkpoint's configuration may name; None for all, as --trust alone asks for.

    A class that the options name, whether behind --trust or as a value, may stand in the file as well.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--trust", nargs="*")
    if parser.parse_known_args(options)[0].trust == []:
        return None
    return {word.rpartition("=")[2] for word in options}


def names_folder(args: list[str]) -> bool:
    """Return whether the command names its experiment or the folder of all runs."""
    return gives(args, "--experiment", "--runs")


def gives(args: list[str], *options: str) -> bool:
    """Return whether one of the options is among the words of a command."""
    return any(word.partition("=")[0] in options for word in args)
