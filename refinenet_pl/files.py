"""Files that are written whole or not at all, and mappings read from yaml and JSON."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from refinenet_pl.errors import UserError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path beside that of a file, to be written to; the file gets its name afterwards, so that no half is ever found.

    Processes that write the same file at once, on one machine or several, have one beside it each.

    Args:
        path: The file to write; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The mapping that a yaml file holds.

    Args:
        path: The file.
        what: What it is for, which the error says first.

    Raises:
        UserError: No such file, no yaml, or another value than a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{what}: cannot read {path} as yaml: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{what}: {path} holds no mapping of keys to values")
    return content


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """The mapping that a JSON file holds.

    Args:
        path: The file.
        advice: What to do where it holds none, with which the error ends.

    Raises:
        UserError: No such file, no JSON, or another value than a mapping.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); {advice}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}, and no mapping of names to values; {advice}")
    return content
