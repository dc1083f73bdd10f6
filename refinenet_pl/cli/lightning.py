"""Runs one of Lightning's commands: warnings, a checkpoint's configuration, and mistakes told in words."""

import sys
import warnings
from pathlib import Path

from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import OutOfMemoryError

from refinenet_pl.cli.prediction import PredictionCLI
from refinenet_pl.cli.saved_config import checkpoint_config
from refinenet_pl.cli.training import TrainingCLI
from refinenet_pl.errors import UserError

COMMANDS = {"fit": TrainingCLI, "validate": TrainingCLI, "test": TrainingCLI, "predict": PredictionCLI}
IRRELEVANT_WARNINGS = (
    "Experiment logs directory .* exists",  # a resumed run's earlier metrics were moved aside
    "Checkpoint directory .* exists",  # a resumed run's own
    "Found .* module\\(s\\) in eval mode",  # frozen batch norm, as asked for
    "It is recommended to use `self.log\\('(val|test)/",  # these figures are sums over the devices already
    "Couldn't infer the batch indices",  # samples come with their names
    "You're using the WeightAveraging callback, but loading a checkpoint outside",  # which holds the averaged weights
    "Be aware that when using `ckpt_path`, callbacks used to create",  # which an evaluation needs none of
    ".*isinstance\\(treespec, LeafSpec\\)",  # between Lightning and torch
)


def run(args: list[str]) -> None:
    """Run a command, the first of `args`; its checkpoint's configuration stands in where none is given."""
    checkpoint = option(args, "--ckpt_path")
    configured = option(args, "--config") or option(args, "-c")
    # A weights folder says nothing of the data, so that a configuration may well come on top of it.
    if checkpoint and (not configured or Path(checkpoint).is_dir()):
        args = [args[0], "--config", checkpoint_config(Path(checkpoint), args[0]), *args[1:]]
    for message in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message)
    # Lightning reads the process's arguments, and starts the other processes of a multi-GPU run with them.
    sys.argv[1:] = args
    try:
        COMMANDS[args[0]]()
    except MisconfigurationException as error:
        raise UserError(str(error)) from error
    except OutOfMemoryError as error:
        raise UserError(f"the GPU's memory is too small; lower data.batch_size or data.crop_size ({error})") from error
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise UserError(f"the checkpoint is of another network than the configuration's: {error}") from error


def option(args: list[str], name: str) -> str | None:
    """The value of an option on a command line, written `--name value` or `--name=value`."""
    for word, following in zip(args, [*args[1:], ""], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None
