"""Composes the experiment of a cell from files and overrides."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from refinenet_pl.errors import UserError
from refinenet_pl.files import read_yaml

Overrides = dict[str, Any]
"""Values by their key in an experiment, such as "model.network.init_args.pooling". Each replaces the whole value."""


def compose(study_path: Path, files: Sequence[str]) -> dict[str, Any]:
    """Merge experiment files as several --config are merged: mappings merge, and later values win.

    Args:
        study_path: The study's file. The other paths are relative to it.
        files: Experiment files.

    Raises:
        UserError: A file cannot be read, or the result names no network or no data.
    """
    config: dict[str, Any] = {}
    for file in files:
        merge(config, read_yaml(study_path.parent / file, f"{study_path}: base"))
    network = _section(_section(config, "model"), "network")
    for name, section in (("model.network", network), ("data", _section(config, "data"))):
        if "class_path" not in section:
            raise UserError(
                f"{study_path}: base {', '.join(files)}: found no {name}.class_path; expected an experiment"
            )
    return config


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def merge(config: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Merge another mapping into a mapping, in place. Lists and scalars replace."""
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            merge(config[key], value)
        else:
            config[key] = deepcopy(value)


def set_value(config: dict[str, Any], key: str, value: Any, path: Path) -> None:
    """Set the value at a dotted key in nested mappings. Missing mappings are created.

    Raises:
        UserError: The key leads through a value that is no mapping, or past `init_args` of a class.
    """
    *sections, last = key.split(".")
    for index, section in enumerate([*sections, last]):
        if not isinstance(config, dict):
            raise UserError(f"{path}: cannot set {key}: {'.'.join(sections[:index])} is {config!r}, not a mapping")
        if "class_path" in config and section not in ("class_path", "init_args", "dict_kwargs"):
            before, after = sections[:index], [*sections, last][index:]
            raise UserError(
                f"{path}: override {key}: arguments of a class are under init_args; "
                f"write {'.'.join([*before, 'init_args', *after])}"
            )
        if index < len(sections):
            config = config.setdefault(section, {})
    config[last] = value


def training_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training depends on: all but inference and loggers."""
    training = deepcopy(dict(config))
    training["model"].pop("inference", None)
    training.get("trainer", {}).pop("logger", None)
    return training


def wandb_loggers(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the W&B loggers of an experiment, which has one logger or a list."""
    configured = config.get("trainer", {}).get("logger")
    loggers = configured if isinstance(configured, list) else [configured]
    return [
        logger
        for logger in loggers
        if isinstance(logger, dict) and logger.get("class_path", "").endswith("WandbLogger")
    ]
