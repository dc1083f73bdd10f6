"""Checkpoint files as the zip archives that they are: whether one was cut short, and which other one is whole."""

from pathlib import Path
from zipfile import is_zipfile

START = b"PK"
"""The first bytes of a zip archive."""


def is_cut_short(path: str | Path) -> bool:
    """Return whether an existing file is empty, or begins as a zip archive and lacks its end. No content is read."""
    if is_zipfile(path):
        return False
    with Path(path).open("rb") as file:
        return file.read(len(START)) in (b"", START)


def cut_short_message(path: str | Path) -> str:
    """Describe a checkpoint that was cut short, and name the newest whole one in its folder."""
    path = Path(path)
    whole = [file for file in path.parent.glob("*.ckpt") if file != path and not is_cut_short(file)]
    other = max(whole, key=lambda file: file.stat().st_mtime, default=None)
    advice = (
        "there is no other one in its folder" if other is None else f"the newest whole one in its folder is {other}"
    )
    return f"{path}: the checkpoint was cut short ({path.stat().st_size} bytes, no end of the archive); {advice}"
