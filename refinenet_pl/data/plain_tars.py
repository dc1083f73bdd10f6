"""Writes compressed tars as plain ones, which can be read in place."""

import bz2
import gzip
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from refinenet_pl.archive_paths import compressed_tars
from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.progress import progress_bars

OPENERS: dict[str, Callable[[BinaryIO], Any]] = {
    "gz": gzip.open,
    "tgz": gzip.open,
    "bz2": bz2.open,
    "tbz2": bz2.open,
    "xz": lzma.open,
    "txz": lzma.open,
}
CHUNK = 2**22
"""Bytes that are written at a time."""


def write_plain_tars(folder: Path) -> list[Path]:
    """Decompress each compressed tar in a folder, unless the plain tar exists. The original is kept.

    Args:
        folder: The folder.

    Returns:
        The tars that were written.

    Raises:
        UserError: A file is damaged or is no tar, or the disk is full or cannot be written.
    """
    written = []
    for archive in compressed_tars(folder):
        stem = archive.name[: -len(archive.suffix)]
        target = archive.with_name(stem if stem.lower().endswith(".tar") else f"{stem}.tar")
        if not target.exists():
            _decompress(archive, target)
            written.append(target)
    return written


def _decompress(archive: Path, target: Path) -> None:
    opener = OPENERS[archive.suffix.lower().lstrip(".")]
    try:
        with (
            progress_bars() as progress,
            archive.open("rb") as packed,
            opener(
                progress.wrap_file(packed, archive.stat().st_size, description=f"Decompressing {archive.name}")
            ) as plain,
            atomic_write(target) as temporary,
        ):
            with temporary.open("wb") as file:
                shutil.copyfileobj(plain, file, CHUNK)
            if not tarfile.is_tarfile(temporary):
                raise UserError(f"{archive}: its content is no tar; expected a tar. Get it again.")
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise UserError(f"{archive}: is damaged or incomplete ({error}). Get it again.") from error
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written from {archive.name} ({error}); expected a disk with room"
        ) from error
