"""Atomic writes, safe file names, and mappings read from YAML and JSON."""

import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from refinenet_pl.errors import UserError

MAX_NAME_BYTES = 255  # of a file or folder, on the usual file systems


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write to a temporary file in the same folder, and rename it on success.

    Readers see the old file or the whole new file. Each process has a temporary file of its own, on every machine.

    Args:
        path: The file to write. Its folder is created.

    Yields:
        The path of the temporary file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def expand(path: str | Path, key: str) -> Path:
    """Replace variables of the environment ($NAME, ${NAME}) and ~ in a path.

    Args:
        path: The path, as a configuration has it.
        key: Key of the configuration, for the error message.

    Raises:
        UserError: A variable is not set.
    """
    expanded = os.path.expandvars(path)
    if (unset := re.search(r"\$(\w+|\{[^}]*\})", expanded)) and not Path(path).exists():
        raise UserError(f"{key}: {path} holds {unset[0]}, but this variable is not set; set it, or write the path out")
    return Path(expanded).expanduser()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")


def path_inside(folder: str | Path, name: str) -> Path:
    """Return the path of a file in a folder, whose name comes from a list, an archive or a checkpoint.

    Args:
        folder: The folder.
        name: Path of the file in it, with slashes.

    Raises:
        UserError: The name leads outside the folder, or the file system cannot hold it.
    """
    parts = PurePosixPath(name).parts
    control = any(ord(letter) < 32 or ord(letter) == 127 for letter in name)
    if not parts or ".." in parts or name.startswith("/") or PureWindowsPath(name).anchor or control:
        raise UserError(
            f"{name!r}: cannot be the name of a file in {folder}; expected a relative path without '..' and control "
            "characters. Rename it where it is listed."
        )
    path = Path(folder, *parts)
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in (*parts[:-1], _temporary(path).name)):
        raise UserError(f"{name!r}: the name is too long for a file in {folder}; expected at most about 180 bytes")
    return path


def read_yaml(path: str | Path, what: str) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Args:
        path: The file.
        what: What the file is for. The error message starts with it.

    Raises:
        UserError: The file is missing, is not YAML, or holds something other than a mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{what}: cannot read {path} as YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{what}: {path} holds {type(content).__name__}; expected a mapping of keys to values")
    return content


def read_json(path: str | Path, advice: str) -> dict[str, Any]:
    """Read a mapping from a JSON file.

    Args:
        path: The file.
        advice: What the user can do if the file is unusable. The error message ends with it.

    Raises:
        UserError: The file is missing, is not JSON, or holds something other than a mapping.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot read it as JSON ({error}); {advice}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}; expected a mapping of names to values; {advice}")
    return content


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON. NaN is refused, because JSON has none."""
    with atomic_write(path) as file:
        file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
