"""The configuration that a run was trained with: where it is kept, and how it is read back."""

from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import CSVLogger

from refinenet_pl.weights.checkpoint import CONFIG_KEY, read_checkpoint
from refinenet_pl.weights.folder import network_config, read_preprocessing


class SaveConfig(SaveConfigCallback):
    """Keeps the configuration in the run folder, in every checkpoint, and with the loggers."""

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Hand it to the loggers; the parent has written the file."""
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger):  # which would write the same file again
                logger.log_hyperparams(yaml.safe_load(self._text()))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """A checkpoint can then be evaluated wherever it is moved."""
        checkpoint[CONFIG_KEY] = self._text()

    def _text(self) -> str:
        return self.parser.dump(self.config, skip_none=False)


def checkpoint_config(path: Path, command: str) -> str:
    """The configuration, as yaml, that a checkpoint was trained with, or that a weights folder stands for.

    Args:
        path: Of the checkpoint or the folder.
        command: What it is for; "predict" takes any images, so that the data of the training must not matter.

    Raises:
        UserError: No such file or folder, or none of ours.
    """
    config = folder_config(path) if path.is_dir() else yaml.safe_load(read_checkpoint(path)[CONFIG_KEY])
    if command == "predict":
        config.pop("data", None)
    return yaml.safe_dump(config)


def folder_config(folder: Path) -> dict[str, Any]:
    """What a weights folder says of network, classes and pixels."""
    network, arguments = network_config(folder)
    preprocessing = read_preprocessing(folder)
    model = {
        "network": {"class_path": f"{network.__module__}.{network.__qualname__}", "init_args": arguments},
        "class_names": preprocessing.class_names,
        "class_colors": preprocessing.class_colors,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
    }
    return {"model": model, "experiment": folder.resolve().name}
