"""What the commands `refinenet study ...` share: the study's file, and options for the trainings of its cells."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from refinenet_pl.errors import UserError

FIT_SECTIONS = ("model", "data", "trainer", "checkpoint")
"""Sections of the configuration whose options study commands pass to `refinenet fit`."""
FIT_OPTIONS_HELP = "Options of `refinenet fit`, such as --data.root=/data/voc, apply to every cell."


def study_parser(name: str, description: str) -> ArgumentParser:
    """Return a parser with the options of every study command."""
    parser = ArgumentParser(prog=f"refinenet {name}", description=description)
    parser.add_argument("file", type=Path, help="YAML of the study.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="Folder of all runs.")
    return parser


def split_fit_options(args: Sequence[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Split the options of `refinenet fit`, such as --data.root=/data/voc, off the options of a study command.

    Values stay text. Only `fit` knows their types: for YAML, the time limit 24:00:00:00 is a number.

    Args:
        args: Words of the command line.

    Returns:
        The other words, and the options for `fit` by section.

    Raises:
        UserError: An option has no value, or appends to a list twice.
    """
    others: list[str] = []
    options: dict[str, dict[str, str]] = {}
    words = iter(args)
    for word in words:
        name, equals, value = word.partition("=")
        section, _, key = name.removeprefix("--").partition(".")
        if not name.startswith("--") or section not in FIT_SECTIONS or not key:
            others.append(word)
            continue
        if not equals:
            value = next(words, "--")
            if value.startswith("--"):
                raise UserError(f"{name}: found no value; write {name}=VALUE")
        if key.endswith("+") and key in options.get(section, {}):
            raise UserError(f"{name}: given twice; give one list, {name}=[A, B]")
        options.setdefault(section, {})[key] = value
    return others, options
