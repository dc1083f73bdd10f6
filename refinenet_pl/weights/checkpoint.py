"""Checkpoints of this package: the configuration and the weights in them, read without running code."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refinenet_pl.errors import UserError

CONFIG_KEY = "refinenet_config"
"""Where a checkpoint holds the configuration of its run, as YAML text."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this package; its configuration is under CONFIG_KEY.

    Raises:
        UserError: The file is missing, is damaged, asks for code to run, or holds no configuration.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"checkpoint: no file {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for a damaged or unsafe file
        raise UserError(f"checkpoint: cannot read {path} safely: {error}") from error
    if CONFIG_KEY not in checkpoint:
        raise UserError(f"checkpoint: {path} holds no configuration; give one with --config")
    return checkpoint


def network_state(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The network's state dict: averaged weights, if the run averaged them, else those of the last step."""
    # Lightning's weight averaging keeps the averaged weights under "state_dict", and the last step's elsewhere.
    state = checkpoint["state_dict"].items()
    return {key.removeprefix("network."): value for key, value in state if key.startswith("network.")}
