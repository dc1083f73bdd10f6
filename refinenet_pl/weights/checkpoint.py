"""Checkpoints of this package: the configuration and the weights in them, read without running code."""

from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor

from refinenet_pl.archives import cut_short_message, is_cut_short
from refinenet_pl.errors import UserError
from refinenet_pl.files import parse_yaml

CONFIG_KEY = "refinenet_config"
"""Key of a checkpoint's configuration, as YAML text."""
RUN_KEY = "refinenet_run"
"""Key of the run that wrote a checkpoint: {"id": the id in the run folder's history}."""


def is_checkpoint(path: str | Path) -> bool:
    """Return whether a file is a checkpoint of this package or another one that Lightning wrote; reads no tensors."""
    if not is_zipfile(path):  # torch's old format or safetensors, which Lightning does not write
        return False
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception:  # torch raises many kinds of errors for a damaged or unsafe file
        return False
    return isinstance(content, dict) and (CONFIG_KEY in content or "pytorch-lightning_version" in content)


def read_checkpoint(path: str | Path, needs_config: bool = True) -> dict[str, Any]:
    """Read a checkpoint of this package; its configuration is under CONFIG_KEY.

    Args:
        path: The file.
        needs_config: Refuse a checkpoint without a configuration, such as one of another Lightning program.

    Raises:
        UserError: The file is missing, is damaged, asks for code to run, or holds no configuration.
    """
    path = Path(path)
    checkpoint = _read(path)
    if needs_config and CONFIG_KEY not in checkpoint:
        raise UserError(
            f"checkpoint: {path} holds no configuration; expected a checkpoint that `refinenet fit` wrote. On the "
            "command line, give the configuration with --config"
        )
    return checkpoint


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"checkpoint: no file {path}")
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for a damaged or unsafe file
        if path.suffix == ".ckpt" and is_cut_short(path):
            raise UserError(f"checkpoint: {cut_short_message(path)}") from error
        # Not torch's message, which advises to run the file's code (weights_only=False).
        raise UserError(
            f"checkpoint: cannot read {path} safely ({type(error).__name__}); expected an undamaged checkpoint that "
            "holds only tensors, numbers and text"
        ) from error
    return content if isinstance(content, dict) else {}


def run_config(checkpoint: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Return the configuration of the run that wrote a checkpoint.

    Args:
        checkpoint: As `read_checkpoint` returns it.
        path: The checkpoint's file, for error messages.

    Raises:
        UserError: The configuration is not a YAML mapping.
    """
    text = checkpoint[CONFIG_KEY]
    if not isinstance(text, str):
        raise UserError(f"checkpoint: the configuration in {path} is {type(text).__name__}; expected YAML text")
    config = parse_yaml(text, f"checkpoint: cannot read the configuration in {path} as YAML")
    if not isinstance(config, dict):
        raise UserError(f"checkpoint: the configuration in {path} is {type(config).__name__}; expected a mapping")
    return config


def network_state(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the network's state dict: averaged weights if the run averaged them, else those of the last step."""
    # Lightning's weight averaging keeps the averaged weights under "state_dict", and the last step's elsewhere.
    state = checkpoint.get("state_dict")
    tensors = {str(key): value for key, value in state.items()} if isinstance(state, dict) else {}
    return {
        key.removeprefix("network."): value
        for key, value in tensors.items()
        if key.startswith("network.") and isinstance(value, Tensor)
    }
