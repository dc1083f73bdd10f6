"""Tab completion in a shell, by argcomplete: `eval "$(register-python-argcomplete refinenet)"`."""

import argparse
import os
from collections.abc import Collection
from typing import Any

import argcomplete
from argcomplete.completers import ChoicesCompleter, FilesCompleter

from refinenet_pl.cli import catalog
from refinenet_pl.cli.short_help import OPTIONS, USAGES

VARIABLE = "_ARGCOMPLETE"
"""argcomplete's shell function sets it to the number of the word that is the program, from 1."""


def complete(commands: Collection[str]) -> list[str]:
    """Complete the command line of the shell, and end the process, which takes a quarter of a second.

    The options of other commands than `fit` and its like are those of their own parsers. These complete the line
    themselves when they are asked to parse.

    Args:
        commands: The names of all commands.

    Returns:
        The words of the command whose parser has to complete the line. The parser then sees what follows them.
    """
    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    words = line.split()[1:] if line.endswith(" ") else line.split()[1:-1]  # those before the word that is completed
    for count in (2, 1):
        if " ".join(words[:count]) in {*commands} - {*USAGES} and len(words) >= count:
            os.environ[VARIABLE] = str(count + 1)
            return words[:count]
    argcomplete.autocomplete(_parser(commands))
    raise AssertionError("argcomplete ends the process")


def _parser(commands: Collection[str]) -> argparse.ArgumentParser:
    """Return a parser of the commands, with the common options of `fit`, `validate`, `test` and `predict`."""
    parser = argparse.ArgumentParser("refinenet")
    subparsers = parser.add_subparsers()
    groups: dict[str, Any] = {}
    for command in commands:
        first, _, second = command.partition(" ")
        if second:
            if first not in groups:
                groups[first] = subparsers.add_parser(first).add_subparsers()
            groups[first].add_parser(second)
        else:
            _add_options(subparsers.add_parser(command), command)
    return parser


def _add_options(parser: argparse.ArgumentParser, command: str) -> None:
    values = {"--model.network": catalog.networks, "--model.loss": catalog.losses, "--data": catalog.data_modules}
    for option in (option for option in OPTIONS if command in option.commands):
        name = option.name.split()[0]
        several = "+" if option.name.endswith("...") else None
        action = parser.add_argument(name, nargs=several, help=option.text)
        action.completer = ChoicesCompleter(values[name]()) if name in values else FilesCompleter()  # type: ignore
