"""The `refinenet` command. It answers --help and --version without loading torch."""

import argparse
import codecs
import io
import locale
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import refinenet_pl
from refinenet_pl.cli.allocator import keep_freed_memory
from refinenet_pl.cli.early_checks import check_settings
from refinenet_pl.cli.short_help import USAGES as SHORT_HELP
from refinenet_pl.cli.short_help import short_help
from refinenet_pl.errors import Interrupted, UserError
from refinenet_pl.files import read_yaml
from refinenet_pl.text import join


class Command(NamedTuple):
    """One command.

    Attributes:
        module: Module with `run(name, args)`, which returns the exit status; None is 0. It is imported only when the
            command is called.
        summary: One line for the help.
    """

    module: str
    summary: str


COMMANDS = {
    "fit": Command("refinenet_pl.cli.lightning", "train, then evaluate the best checkpoint on the validation split"),
    "validate": Command("refinenet_pl.cli.lightning", "evaluate a checkpoint on the validation split"),
    "test": Command("refinenet_pl.cli.lightning", "evaluate a checkpoint on the test split"),
    "predict": Command("refinenet_pl.cli.lightning", "write masks and overlays of images and videos"),
    "list": Command("refinenet_pl.cli.listing", "list recipes, datasets, networks, losses or encoders"),
    "runs": Command("refinenet_pl.cli.runs", "list runs with their mean IoU, and what differs between them"),
    "compare": Command("refinenet_pl.cli.compare", "compare two runs on the same images, class by class"),
    "report": Command("refinenet_pl.cli.report", "write tables, plots and a page of one run or a few"),
    "doctor": Command("refinenet_pl.cli.doctor", "print what this machine has and can do, and what is wrong with it"),
    "why": Command("refinenet_pl.cli.why", "name the first place where two trainings part"),
    "replay": Command("refinenet_pl.cli.replay", "run the step again that stopped a training, and find where it fails"),
    "data prepare": Command("refinenet_pl.cli.data_prepare", "get a dataset ready, and say what is missing"),
    "data check": Command("refinenet_pl.cli.data_check", "list everything that is wrong with a dataset"),
    "data stats": Command("refinenet_pl.cli.data_stats", "count classes, sizes and colors of a split"),
    "data show": Command("refinenet_pl.cli.data_show", "write sheets of images with labels, as the network sees them"),
    "data ceiling": Command("refinenet_pl.cli.data_ceiling", "print what a perfect network could score"),
    "class-weights": Command("refinenet_pl.cli.class_weights", "compute class weights from the training split"),
    "benchmark data": Command("refinenet_pl.cli.benchmark_data", "measure whether a training waits for its data"),
    "benchmark infer": Command("refinenet_pl.cli.benchmark_infer", "measure inference, beside other networks"),
    "benchmark train": Command("refinenet_pl.cli.benchmark_train", "measure a training step, beside other networks"),
    "benchmark eval": Command("refinenet_pl.cli.benchmark_eval", "measure the metrics, beside torchmetrics"),
    "export": Command("refinenet_pl.cli.export", "write a network as ONNX, OpenVINO or torch.export file"),
    "weights convert": Command("refinenet_pl.cli.weights", "convert a published file to a weights folder"),
    "weights export": Command("refinenet_pl.cli.weights", "export a checkpoint to a weights folder"),
    "study run": Command("refinenet_pl.cli.study_run", "train and evaluate every cell of a study"),
    "study pictures": Command("refinenet_pl.cli.study_pictures", "predict the images that the study's page shows"),
    "study report": Command("refinenet_pl.cli.study_report", "write tables, plots and a page from the finished cells"),
    "study power": Command("refinenet_pl.cli.study_power", "tell how many seeds a study needs to find an effect"),
    "study sweep": Command("refinenet_pl.cli.study_sweep", "write the study as a W&B sweep"),
}

NUMBERS = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),
)
"""Variables of launchers of several processes. Lightning reads them as numbers, some of them when it is imported."""

EXAMPLES = """examples:
  refinenet fit --config experiments/datasets/scenes.yaml --config experiments/recipes/quickstart.yaml
  refinenet validate --ckpt_path runs/EXPERIMENT/TIME/checkpoints/best.ckpt
  refinenet predict --ckpt_path runs/EXPERIMENT/TIME/checkpoints/best.ckpt --images PHOTOS/ --output PREDICTIONS/
  refinenet study run experiments/studies/chained_pooling_scenes.yaml

A checkpoint holds its configuration; --config and options override it.
refinenet COMMAND --help explains a command; --version prints the version.
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: The command and its options. None takes the arguments of the process.

    Returns:
        The exit status: 0 for success; 1 for a training that a fault stopped, or runs that differ; 2 for a mistake of
        the user; 130 for Ctrl-C; 141 if the reader of its output ended; 143 for SIGTERM.
    """
    write_any_letter()
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] == ["--version"]:
        print(refinenet_pl.__version__)
        return 0
    try:
        return run_command(words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # what reads the output has ended, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python fails when it flushes at its end
        return 141
    except Interrupted as interruption:
        if interruption.status:  # else the first process tells it
            print(f"refinenet: {interruption.tell()}", file=sys.stderr)
        return interruption.status
    except Exception as error:
        told = error if isinstance(error, UserError) else explain(error)
        if told is None:
            raise
        # A worker process wraps the message in its own traceback. The last message is the one for the user.
        print(f"refinenet: error: {str(told).rpartition('UserError: ')[2].strip()}", file=sys.stderr)
        return told.status


def run_command(words: list[str]) -> int:
    """Run a command, or print the help that is asked for.

    Args:
        words: The command and its options.

    Returns:
        The exit status.

    Raises:
        UserError: The command, a key, a file or the environment is wrong.
    """
    check_surroundings(words)
    # As with `python -m`, yaml can name classes of modules in the current folder. They come last here, so that a
    # file there cannot take the place of an installed package.
    if not sys.flags.safe_path and not {"", os.getcwd()} & {*sys.path}:
        sys.path.append(os.getcwd())
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for the words that can come next
        words = import_module("refinenet_pl.cli.tab_completion").complete(COMMANDS)
    name, options = split_command(words)
    if name is None:
        print(usage(options))
        return 0
    if name in SHORT_HELP and {"-h", "--help"} & {*options} and options[-1:] != ["all"]:
        print(short_help(name, COMMANDS[name].summary))
        return 0
    if name in SHORT_HELP and not options:
        raise UserError(f"{name} needs options: refinenet {name} {SHORT_HELP[name]}; see refinenet {name} --help")
    check_config_files(options)
    if name in SHORT_HELP and "--help" not in options:
        check_settings(name, options)
    keep_freed_memory()
    return import_module(COMMANDS[name].module).run(name, options) or 0


def explain(error: Exception) -> UserError | None:
    """Return what to tell the user about another package's error; None if it may be a fault of this package."""
    # Imported only here: it loads torch, which some commands do not need.
    return import_module("refinenet_pl.cli.errors").explain(error)


def write_any_letter() -> None:
    """Let the output replace letters that its encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def check_surroundings(args: Sequence[str]) -> None:
    """Check the current folder, the environment, and that the words of the command could be read.

    Raises:
        UserError: The folder was deleted, a variable is no number, or a word has letters beyond the locale's.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UserError("the current folder was deleted; change to a folder that exists") from error
    for name in NUMBERS:
        value = os.environ.get(name)
        if value is not None and not value.strip().removeprefix("-").isdecimal():
            raise UserError(f"{name} is {value!r} in the environment; expected a number. Remove it: unset {name}")
    encoding = locale.getpreferredencoding(do_setlocale=False)
    wrong = [word for word in args if any("\udc80" <= letter <= "\udcff" for letter in word)]  # bytes that are no text
    if wrong and codecs.lookup(encoding).name != "utf-8":
        raise UserError(f"{wrong[0]} has letters beyond ASCII, but this locale uses {encoding}; set PYTHONUTF8=1")


def check_config_files(options: Sequence[str]) -> None:
    """Check that each file that --config names is YAML.

    Raises:
        UserError: A file is not YAML, is empty, or has letters that the parser cannot read.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", "-c", nargs="?", action="append", default=[])
    for file in parser.parse_known_args(options)[0].config:
        if not file or not os.path.isfile(file):  # the command's parser reports it; it can also be YAML itself
            continue
        read_yaml(file, "--config")
        # The parser reads it in the encoding of the locale.
        encoding = locale.getpreferredencoding(do_setlocale=False)
        if not Path(file).read_bytes().isascii() and codecs.lookup(encoding).name != "utf-8":
            raise UserError(
                f"--config: {file} has letters beyond ASCII, but this locale uses {encoding}; set PYTHONUTF8=1"
            )


def split_command(args: list[str]) -> tuple[str | None, list[str]]:
    """Split the arguments of the process.

    Returns:
        The name of the command and its options. If help is asked for instead: None and the first words of the
        commands to list.

    Raises:
        UserError: No command has that name.
    """
    words = [word for word in args[:2] if word not in ("-h", "--help")]
    for count in (2, 1):
        if len(words) >= count and " ".join(args[:count]) in COMMANDS:
            return " ".join(args[:count]), args[count:]
    if not words or (len(words) == 1 and listed_commands(words)):
        return None, words
    expected = join(listed_commands(words[:1]) or COMMANDS)
    raise UserError(f"no command {' '.join(words)!r}; expected one of: {expected}")


def listed_commands(first_words: Sequence[str]) -> dict[str, Command]:
    """Return the commands that start with the given words."""
    return {name: command for name, command in COMMANDS.items() if name.split()[: len(first_words)] == [*first_words]}


def usage(first_words: Sequence[str]) -> str:
    """Return the help that lists the commands that start with the given words."""
    commands = listed_commands(first_words)
    lines = [f"  {name:<15} {command.summary}" for name, command in commands.items()]
    return "\n".join(
        [
            f"refinenet {refinenet_pl.__version__}: RefineNet for semantic segmentation, on PyTorch Lightning",
            "",
            f"usage: refinenet {' '.join([*first_words, 'COMMAND'])} [OPTIONS]",
            "",
            "commands:",
            *lines,
            *([] if first_words else ["", EXAMPLES]),
        ]
    )
