"""Runs the commands of LightningCLI: loads a checkpoint's configuration, and turns errors into messages."""

import argparse
import sys
import warnings
from pathlib import Path

from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import OutOfMemoryError

from refinenet_pl.cli.prediction import PredictionCLI
from refinenet_pl.cli.saved_config import checkpoint_config
from refinenet_pl.cli.training import TrainingCLI
from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.interruption import handlers_restored

COMMANDS = {"fit": TrainingCLI, "validate": TrainingCLI, "test": TrainingCLI, "predict": PredictionCLI}
IRRELEVANT_WARNINGS = (
    "Experiment logs directory .* exists",  # the metrics of the resumed run were renamed
    "Checkpoint directory .* exists",  # it belongs to the resumed run
    "Found .* module\\(s\\) in eval mode",  # frozen batch norm, as configured
    "It is recommended to use `self.log\\('(val|test)/",  # these metrics are summed over the devices already
    "Couldn't infer the batch indices",  # samples have names
    "You're using the WeightAveraging callback, but loading a checkpoint outside",  # it holds the averaged weights
    "Be aware that when using `ckpt_path`, callbacks used to create",  # evaluation does not need them
    ".*isinstance\\(treespec, LeafSpec\\)",  # Lightning uses what torch deprecates
)


def run(name: str, args: list[str]) -> None:
    """Run a command.

    A checkpoint's configuration replaces a missing --config.

    Args:
        name: The command.
        args: Its options.
    """
    # Lightning reads the process's arguments, and starts the other processes of a multi-GPU run with them.
    sys.argv[1:] = [name, *add_checkpoint_config(name, args)]
    for message in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message)
    try:
        with handlers_restored():
            COMMANDS[name]()
    except MisconfigurationException as error:
        raise UserError(str(error)) from error
    except OutOfMemoryError as error:
        raise UserError(f"out of GPU memory; lower data.batch_size or data.crop_size ({error})") from error
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise UserError(f"the checkpoint does not fit the configured network: {error}") from error


def add_checkpoint_config(command: str, options: list[str]) -> list[str]:
    """Add the configuration of the checkpoint, and the best checkpoint of a run folder, to a command's options."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    # LightningCLI reports missing values.
    parser.add_argument("--ckpt_path", nargs="?")
    parser.add_argument("--config", "-c", nargs="?", action="append")
    given, _ = parser.parse_known_args(options)
    if not given.ckpt_path:
        return options
    checkpoint = Path(given.ckpt_path)
    if command == "fit" and checkpoint.is_dir():
        file = RunFolder(Path("RUN")).last_checkpoint
        raise UserError(f"--ckpt_path: {checkpoint} is a folder of weights or of a run; fit resumes a file, as {file}")
    if RunFolder(checkpoint).config.is_file():
        checkpoint = RunFolder(checkpoint).best_checkpoint
        options = [*options, "--ckpt_path", str(checkpoint)]  # the last one wins
    # A weights folder does not describe the data: its configuration comes first, and --config adds to it.
    if not given.config or checkpoint.is_dir():
        options = ["--config", checkpoint_config(checkpoint, command), *options]
    return options
