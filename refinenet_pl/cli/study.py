"""What the commands `refinenet study ...` share: the study's file, and options for the trainings of its cells."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from refinenet_pl.cli.parser import Parser

FIT_SECTIONS = ("model", "data", "trainer", "checkpoint")
"""Sections of the configuration whose options study commands pass to `refinenet fit`."""


def study_parser(name: str, description: str) -> ArgumentParser:
    """Return a parser with the options of every study command."""
    # Values are JSON or text. YAML would turn the time limit 24:00:00:00 into a number before `fit` sees it.
    parser = Parser(prog=f"refinenet {name}", description=description, parser_mode="json")
    parser.add_argument("file", type=Path, help="YAML of the study.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="Folder of all runs.")
    return parser


def add_trust_option(parser: ArgumentParser) -> None:
    """Add --trust, for commands that read the configurations of finished runs."""
    help_text = "Let the configurations of the runs name any class. A class of a stranger's runs code."
    parser.add_argument("--trust", action="store_true", help=help_text)


def add_fit_options(parser: ArgumentParser) -> None:
    """Accept options of `refinenet fit`, such as --data.root=/data/voc, for every cell."""
    for section in FIT_SECTIONS:
        help_text = f"Options of `refinenet fit` for every cell: --{section}.NAME=VALUE."
        parser.add_argument(f"--{section}", type=dict[str, Any], default={}, help=help_text)


def fit_options(options: Namespace) -> dict[str, Any]:
    """Return the options for `refinenet fit`, nested by section."""
    return {section: options[section] for section in FIT_SECTIONS if options[section]}
