"""The configuration of a run: where it is saved, and how it is read from a checkpoint or a weights folder."""

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import CSVLogger

from refinenet_pl.weights.checkpoint import CONFIG_KEY, read_checkpoint, run_config
from refinenet_pl.weights.folder import network_config, read_preprocessing
from refinenet_pl.weights.trust import SECTIONS, check_config


class SaveConfig(SaveConfigCallback):
    """Saves the configuration in the run folder, in each checkpoint, and with the loggers."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Pass the configuration to the loggers; the parent class writes the file."""
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger):  # it would write the same file again
                logger.log_hyperparams(yaml.safe_load(dump(self.parser, self.config)))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the configuration, so that the checkpoint can be evaluated anywhere."""
        checkpoint[CONFIG_KEY] = dump(self.parser, self.config)


def dump(parser: ArgumentParser, config: Namespace) -> str:
    """Return the configuration as YAML text, as the run folder has it."""
    return parser.dump(config, skip_none=False)


def checkpoint_config(path: Path, command: str, trusted: Collection[str] | None = ()) -> str:
    """Return the configuration of a checkpoint or a weights folder, as YAML text.

    Args:
        path: The checkpoint or the folder.
        command: The command that needs it. "predict" takes any images, so that its configuration has no data.
        trusted: Classes that the user has named, as for `check_config`; None trusts all that the configuration names.

    Raises:
        UserError: There is no such file or folder, it holds no configuration, or one that asks for untrusted classes.
    """
    config = folder_config(path) if path.is_dir() else run_config(read_checkpoint(path), path)
    config = {key: config[key] for key in SECTIONS if key in config}
    if command == "predict":
        config.pop("data", None)
    if trusted is not None:
        check_config(config, path, trusted)
    return yaml.safe_dump(config)


def folder_config(folder: Path) -> dict[str, Any]:
    """Return the network, preprocessing and name of a weights folder, as a configuration."""
    network, arguments = network_config(folder)
    model = {
        "network": {"class_path": f"{network.__module__}.{network.__qualname__}", "init_args": arguments},
        "preprocessing": asdict(read_preprocessing(folder)),
    }
    return {"model": model, "experiment": folder.resolve().name}
