"""The parsers of all commands: a mistake is one short message, with the nearest name."""

import argparse
import inspect
import numbers
import re
from pydoc import locate
from typing import Any, NoReturn

from jsonargparse import ArgumentParser
from jsonargparse.typing import register_type

from refinenet_pl.errors import UserError
from refinenet_pl.text import nearest, with_help


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected a number; found {value!r}")
    return value if isinstance(value, int | float) else float(value)


# Transforms of torchvision have arguments of this type, which the parser can neither read nor write otherwise.
register_type(numbers.Number, serializer=_number, deserializer=_number)

NOISE = re.compile(
    r"Does not validate against any of the Union subtypes|Subtypes: .*|Errors:|Given value type: .*|"
    r"Given value: Namespace\(.*|Expected a <class 'NoneType'>|Expected a path but .* either not accessible or invalid"
)
"""Lines of jsonargparse's messages that say how it looked for a type."""
WORDS = (
    (r"Type typing\.Callable\[.*\] expects a function or a callable class: *\n?", ""),
    (r"\. Got value: .*", ""),
    (r"Given value: NestedArg\(key='(.*?)', val=(.*)\)", r"found \1=\2"),
    (r"Given value: ", "found "),
    (
        r"Expected a dot import path string: (.*)",
        r"no class '\1'; expected the name of a class, or package.module.Class",
    ),
    (r"Expected a <class '(?:\w+\.)*(\w+)'>", r"expected \1"),
    (r"<class '(.*?)'>", r"\1"),
    (r"Problem with given class_path '(.*?)':\s+Option '(.*?)' is not accepted", r"\1 has no option '\2'"),
    (r"Problem with given class_path '(.*?)':", r"\1"),
    (r"Option '(.*?)' is not accepted", r"has no option '\1'"),
    (
        r"refinenet_pl\.data\.SegmentationDataModule\s+the following arguments are required: root",
        "no dataset; give the yaml of a dataset with --config, before that of the recipe, or --data CLASS",
    ),
    (r"Subcommand '(\w+)' does not accept option '(.*?)'", r"\1 has no option '\2'"),
)
"""Phrases of jsonargparse's messages, and shorter ones."""


class Parser(ArgumentParser):
    """A parser that reports a mistake as a UserError, without its usage of many lines."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # A yaml file takes whole names only, and an abbreviation of --ckpt_path would not be seen before parsing.
        super().__init__(*args, **({"allow_abbrev": False} | options))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Report a mistake.

        Raises:
            UserError: Always, except for parsers that jsonargparse makes in order to try a type.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        command = parser.prog.replace(" [options]", "")
        raise UserError(with_help(f"{shorten(message)}{suggestion(message, parser)}", command))


def shorten(message: str) -> str:
    """Return a message of jsonargparse with the key in front, without the types that were tried."""
    keys = re.findall(r'Parser key "(.+?)":', message)
    message = re.sub(r'Parser key "(.+?)":', "", message)
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    words = "\n".join(line for line in lines if line and not NOISE.fullmatch(line))
    for found, replacement in WORDS:
        words = re.sub(found, replacement, words)
    words = re.sub(r"the following arguments are required: (.+)", _missing, words)
    words = "; ".join(line.rstrip(":") for line in words.splitlines())
    return f"{'.'.join(keys)}: {words}" if keys else words


def _missing(found: re.Match[str]) -> str:
    """Name what has no value, without the command in front of each key, which is no part of an option."""
    keys = [key.strip() for key in found[1].split(",")]
    names = [re.sub(r"^(fit|validate|test|predict)\.", "", key) for key in keys]
    ways = "; give it in a file of --config or as an option" if names != keys else ""
    return f"no value for {', '.join(names)}{ways}"


def suggestion(message: str, parser: argparse.ArgumentParser) -> str:
    """Return how to write what the message is about: the nearest name, or a list in brackets; or nothing."""
    if unknown := re.search(r"unrecognized arguments: (.*)", message):
        words = unknown[1].split()
        if not words[0].startswith("-"):
            return "; an option takes one value: write a list in brackets, such as --data.crop_size=[64,64]"
        # `Action.option_strings` are public, but a parser's list of actions is not.
        return nearest(words[0].split("=")[0], re.findall(r"--[\w.-]+", parser.format_usage()))
    if option := re.search(r"Problem with given class_path '(.*?)':\s+Option '(.*?)' is not accepted", message):
        return nearest(option[2], parameter_names(locate(option[1])))
    if option := re.search(r"does not accept option '(.*?)'", message):
        return nearest(option[1], re.findall(r"--([\w.-]+)", parser.format_usage()))
    return ""


def parameter_names(cls: object) -> set[str]:
    """Return the names of a class's arguments, its parents' included."""
    parents = inspect.getmro(cls) if inspect.isclass(cls) else ()
    return {name for parent in parents for name in inspect.signature(parent).parameters}
