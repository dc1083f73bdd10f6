"""Atomic writes, safe file names, and mappings read from YAML and JSON."""

import hashlib
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

YAML_BYTES = 1_000_000
"""Largest YAML that is read. Configurations have some kilobytes; those of 1000 classes have less than 0.1 MB."""
JSON_BYTES = 100_000_000
"""Largest JSON that is read. The results of 1000 classes have about 10 MB."""
YAML_DEPTH = 64
"""Deepest nesting of a YAML. Configurations have about ten levels."""
YAML_VALUES = 200_000
"""Most values of a YAML, where each reference (*name) counts as all values that it repeats."""


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
    temporary = temporary_path(path)
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
        UserError: A variable is not set, or a user has no home.
    """
    expanded = os.path.expandvars(path)
    if (unset := re.search(r"\$(\w+|\{[^}]*\})", expanded)) and not Path(path).exists():
        raise UserError(f"{key}: {path} holds {unset[0]}, but this variable is not set; set it, or write the path out")
    try:
        return Path(expanded).expanduser()
    except RuntimeError as error:
        raise UserError(f"{key}: {path} begins with ~, but there is no such home; write the path out") from error


def cache_folder() -> Path:
    """Return the folder for files that can be made again: $XDG_CACHE_HOME/refinenet-pl, by default in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "refinenet-pl"


def temporary_path(path: Path) -> Path:
    """Return where a file is written before it is renamed, different for each process on each machine."""
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")


def path_inside(folder: str | Path, name: str) -> Path:
    """Return the path of a file in a folder, whose name comes from a list, an archive or a checkpoint.

    Args:
        folder: The folder.
        name: Path of the file in it, with slashes.

    Raises:
        UserError: The name leads outside the folder, or the file system cannot hold it.
    """
    parts, windows = PurePosixPath(name).parts, PureWindowsPath(name)
    control = any(ord(letter) < 32 or ord(letter) == 127 for letter in name)
    if not parts or ".." in windows.parts or name.startswith("/") or windows.anchor or control:
        raise UserError(
            f"{name!r}: cannot be the name of a file in {folder}; expected a relative path without '..' and control "
            "characters. Rename it where it is listed."
        )
    path = Path(folder, *parts)
    try:
        lengths = [len(os.fsencode(part)) for part in (*parts[:-1], temporary_path(path).name)]
    except UnicodeEncodeError as error:
        raise UserError(f"{name!r}: no file can have this name, because it is not Unicode text. Rename it.") from error
    if max(lengths) > MAX_NAME_BYTES:
        raise UserError(f"{name!r}: the name is too long for a file in {folder}; expected at most about 180 bytes")
    return path


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of the content of a file, as 64 hexadecimal digits.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def read_yaml(path: str | Path, what: str) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Args:
        path: The file.
        what: What the file is for. The error message starts with it.

    Raises:
        UserError: The file is missing, is not YAML, is too large, or holds something other than a mapping.
    """
    try:
        size = Path(path).stat().st_size
        text = Path(path).read_text(encoding="utf-8") if size <= YAML_BYTES else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{what}: cannot read {path} as YAML: {error}") from error
    if size > YAML_BYTES:
        raise UserError(f"{what}: {path} has {size:,} bytes; expected a YAML of at most {YAML_BYTES:,}")
    content = parse_yaml(text, f"{what}: cannot read {path} as YAML")
    if not isinstance(content, dict):
        raise UserError(f"{what}: {path} holds {type(content).__name__}; expected a mapping of keys to values")
    return content


def parse_yaml(text: str, failure: str) -> Any:
    """Return the content of a YAML text as plain values. Untrusted text is safe: its size is bounded, and no code runs.

    Args:
        text: The YAML.
        failure: What failed if it cannot be read. The error message starts with it.

    Raises:
        UserError: The text is not YAML, has a key twice or a tag of Python's, is too large or too deep, or contains
            itself.
    """
    if len(text) > YAML_BYTES:
        raise UserError(f"{failure}: found {len(text):,} characters; expected at most {YAML_BYTES:,}")
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        values, depth = _extent(root, {})
        if values > YAML_VALUES:
            raise UserError(f"{failure}: its references (*name) repeat values up to {values:.0e}; write the values out")
        if depth > YAML_DEPTH:
            raise UserError(f"{failure}: it is nested too deeply; expected at most {YAML_DEPTH} levels")
        return loader.construct_document(root)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number that does not exist
        raise UserError(f"{failure}: {error}") from error
    except RecursionError as error:
        raise UserError(f"{failure}: it is nested too deeply") from error


def _extent(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of values in a node and its depth; what is referenced counts each time."""
    if id(node) in known:
        extent = known[id(node)]
        if extent is None:
            raise yaml.YAMLError(f"the value in line {node.start_mark.line + 1} contains itself; write it out")
        return extent
    known[id(node)] = None  # it is being counted
    items: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        items = node.value
    elif isinstance(node, yaml.MappingNode):
        items = [item for pair in node.value for item in pair]
        keys: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:  # the loader would take the last one
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key.value!r} is there twice, again in line {line}; delete one")
            keys.add(key.value)
    extents = [_extent(item, known) for item in items]
    known[id(node)] = extent = (1 + sum(count for count, _ in extents), 1 + max((d for _, d in extents), default=0))
    return extent


def read_json(path: str | Path, advice: str, keys: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Read a mapping from a JSON file.

    Args:
        path: The file.
        advice: What the user can do if the file is unusable. The error message ends with it.
        keys: The types of values that must be there.

    Raises:
        UserError: The file is missing, is not JSON, holds something other than a mapping, or lacks one of the keys.
    """
    try:
        if (size := Path(path).stat().st_size) > JSON_BYTES:
            raise UserError(f"{path}: has {size:,} bytes; expected JSON of at most {JSON_BYTES:,}; {advice}")
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise UserError(f"{path}: it is nested too deeply to be read as JSON; {advice}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot read it as JSON ({error}); {advice}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}; expected a mapping of names to values; {advice}")
    for key, kind in (keys or {}).items():
        if not isinstance(content.get(key), kind):
            found = type(content[key]).__name__ if key in content else "none"
            raise UserError(f"{path}: expected {kind.__name__} at the key {key!r}; found {found}; {advice}")
    return content


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON. NaN is refused, because JSON has none."""
    with atomic_write(path) as file:
        file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
