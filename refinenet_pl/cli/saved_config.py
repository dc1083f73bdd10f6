"""The configuration that a checkpoint or a weights folder holds, as far as a command takes it."""

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from refinenet_pl.weights.allowed import SECTIONS
from refinenet_pl.weights.checkpoint import read_checkpoint, run_config
from refinenet_pl.weights.folder import network_config, read_preprocessing
from refinenet_pl.weights.trust import check_config

EVALUATION_KEYS = ("model", "data", "seed_everything", "experiment", "threads")
"""Keys that an evaluation takes. Devices, limits and paths belong to the machine and the moment of the training."""


def checkpoint_config(path: Path, command: str, trusted: Collection[str] | None = ()) -> str:
    """Return the configuration of a checkpoint or a weights folder, as YAML text.

    `fit` continues the training, and takes all of it. An evaluation takes the network, the data, the seed and the
    precision. "predict" takes any images, so that its configuration has no data.

    Args:
        path: The checkpoint or the folder.
        command: The command that needs it.
        trusted: Classes that the user has named, as for `check_config`; None trusts all that the configuration names.

    Raises:
        UserError: There is no such file or folder, it holds no configuration, or one that asks for untrusted classes.
    """
    config = folder_config(path) if path.is_dir() else run_config(read_checkpoint(path), path)
    part = training_part(config) if command == "fit" else evaluation_part(config, command)
    if trusted is not None:
        check_config(part, path, trusted)
    return yaml.safe_dump(part)


def training_part(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that a continued training takes: all but what belongs to one command."""
    return {key: config[key] for key in SECTIONS if key in config}


def evaluation_part(config: dict[str, Any], command: str) -> dict[str, Any]:
    """Return the part of a configuration that `validate`, `test` or `predict` takes."""
    keys = [key for key in EVALUATION_KEYS if key != "data" or command != "predict"]
    part = {key: config[key] for key in keys if key in config}
    if isinstance(part.get("model"), dict):
        part["model"] = {key: value for key, value in part["model"].items() if key not in ("compile", "weights")}
    trainer = config.get("trainer")
    precision = trainer.get("precision") if isinstance(trainer, dict) else None
    return part if precision is None else {**part, "trainer": {"precision": precision}}


def folder_config(folder: Path) -> dict[str, Any]:
    """Return the network, preprocessing and name of a weights folder, as a configuration."""
    network, arguments = network_config(folder)
    model = {
        "network": {"class_path": f"{network.__module__}.{network.__qualname__}", "init_args": arguments},
        "preprocessing": asdict(read_preprocessing(folder)),
    }
    return {"model": model, "experiment": folder.resolve().name}
