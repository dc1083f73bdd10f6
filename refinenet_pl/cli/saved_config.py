"""The configuration that a run was trained with: where it is kept, and how it is read back."""

from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.loggers import CSVLogger

from refinenet_pl.errors import UserError

CONFIG_KEY = "refinenet_config"


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


def checkpoint_config(path: Path) -> str:
    """The configuration, as yaml, that a checkpoint was trained with.

    Raises:
        UserError: No such file, or none of ours.
    """
    if not path.is_file():
        raise UserError(f"--ckpt_path: no file {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or unsafe file
        raise UserError(f"--ckpt_path: cannot read {path} safely: {error}") from error
    if CONFIG_KEY not in checkpoint:
        raise UserError(f"--ckpt_path: {path} holds no configuration; give it with --config as well")
    return checkpoint[CONFIG_KEY]
