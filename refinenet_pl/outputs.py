"""Checks where a command is about to write, before it writes anything."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from refinenet_pl.errors import UserError


class Output(NamedTuple):
    """A file that will be written, and the file that it is made from."""

    path: Path
    source: Path


def check_outputs(outputs: Iterable[Output], option: str) -> None:
    """Check that files can be written, and replace neither each other nor a file that they are made from.

    Nothing is created. Files of an earlier run may be replaced.

    Args:
        outputs: The files.
        option: The command's option that names their folder, for error messages.

    Raises:
        UserError: Two files would have one path, a file would replace an input or a folder, or a folder cannot be
            written.
    """
    outputs = list(outputs)
    inputs = {identity: output.source for output in outputs for identity in _identities(output.source)}
    folders = {folder for output in outputs for folder in _place(output.path).parents}
    sources: dict[Path, Path] = {}
    for path, source in outputs:
        other = sources.setdefault(_place(path), source)
        if other != source:
            raise UserError(
                f"{other} and {source}: both would be written to {path}. Rename one of them, or predict them in "
                f"separate runs with another {option}."
            )
        if (os.path.isdir(path) and not path.is_symlink()) or _place(path) in folders:
            raise UserError(f"{path}: is a folder, but a file would be written there. Choose another {option}.")
        for identity in _identities(path):
            if identity in inputs:
                raise UserError(
                    f"{inputs[identity]}: this input would be replaced by the result of {source}. Choose another "
                    f"{option}."
                )
    for folder in dict.fromkeys(output.path.parent for output in outputs):
        _check_folder(folder, option)


def _place(path: Path) -> Path:
    """Return a path whose folder has no links. The file itself may be a link, which writing replaces."""
    return Path(os.path.realpath(path.parent), path.name)


def _identities(path: Path) -> set[tuple[int, int]]:
    """Device and inode of a file and, for a symbolic link, of its target; nothing if there is no such file."""
    try:
        link = path.lstat()
    except OSError:
        return set()
    try:
        target = path.stat()
    except OSError:
        target = link
    return {(link.st_dev, link.st_ino), (target.st_dev, target.st_ino)}


def _check_folder(folder: Path, option: str) -> None:
    existing = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            folder.lstat()  # fails for names that are too long
        with TemporaryFile(dir=existing):
            pass
    except OSError as error:
        reason = f"{existing} is a file" if isinstance(error, NotADirectoryError) else error.strerror
        raise UserError(f"{folder}: cannot write into this folder ({reason}). Choose another {option}.") from error
