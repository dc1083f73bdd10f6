"""Writes and reads checkpoint files so that a killed process or a full disk damages none."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from refinenet_pl.archives import cut_short_message, is_cut_short
from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write


class CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, and renames it when it is complete.

    The file before it stays until the new one is on the disk and has been read back.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: The content.
            path: The file. A URL such as s3://... is left to Lightning.
            storage_options: Not used, as in Lightning.

        Raises:
            UserError: The file cannot be written, for example because the disk is full.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        try:
            with atomic_write(path) as temporary:
                write(checkpoint, temporary)
                check(temporary)
        except (OSError, RuntimeError, BadZipFile) as error:
            kept = f"The checkpoint before it is kept: {path}. " if Path(path).is_file() else ""
            raise UserError(
                f"cannot write the checkpoint {path}: {reason(error)}. {kept}Training stops. Check the disk and its "
                f"free space (it needs about {size(checkpoint) / 1e6:.0f} MB), then go on with --ckpt_path"
            ) from error

    def load_checkpoint(self, path: str | Path, *args: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint, as Lightning does.

        Raises:
            UserError: The file was cut short, or its weights are not tensors by name.
        """
        if "://" not in str(path) and Path(path).is_file() and is_cut_short(path):
            raise UserError(cut_short_message(path))
        checkpoint = super().load_checkpoint(path, *args, **options)
        state = checkpoint.get("state_dict", {}) if isinstance(checkpoint, dict) else checkpoint
        if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
            raise UserError(f"{path}: its weights are {type(state).__name__}; expected tensors by name (state_dict)")
        return checkpoint


def write(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a new file to the disk."""
    with path.open("wb") as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())


def check(path: Path) -> None:
    """Read a file back.

    Raises:
        BadZipFile: It is not as it was written.
    """
    with ZipFile(path) as archive:
        if (name := archive.testzip()) is not None:
            raise BadZipFile(f"reading it back found an error in {name}")


def reason(error: BaseException) -> str:
    """Return what the system says; torch raises an error of its own after the system's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return str(error)


def size(value: Any) -> int:
    """Return the bytes of all tensors in nested mappings and sequences."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(size, value.values()))
    return sum(map(size, value)) if isinstance(value, list | tuple) else 0
