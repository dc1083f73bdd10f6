"""Checks the files that --config names, before they are parsed."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from refinenet_pl.files import read_yaml


def config_parser() -> argparse.ArgumentParser:
    """Return a parser that finds --config among the options of a command."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    # The command's own parser reports missing values.
    parser.add_argument("--config", "-c", nargs="?", action="append")
    return parser


def check_config_files(options: Sequence[str]) -> None:
    """Check each file that --config names.

    Raises:
        UserError: A file is no YAML mapping, is too large, or contains itself, which would never end.
    """
    given, _ = config_parser().parse_known_args(list(options))
    for config in given.config or []:
        if config and os.path.isfile(config):  # else it is YAML itself, or the command's parser reports it
            read_yaml(Path(config), "--config")
