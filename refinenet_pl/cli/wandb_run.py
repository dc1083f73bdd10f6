"""Gives a run's W&B logger its folder, its id, and a way to work without an account."""

import os
from typing import Any

import wandb
from jsonargparse import Namespace
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.cli.run_folder import RunFolder


def set_up_wandb(config: Namespace, folder: RunFolder) -> None:
    """Point the configured W&B logger, if there is one, at the run folder.

    The run's id is the folder's name, so that a resumed run, which has the same folder, goes on in W&B as well.
    """
    for logger in _loggers(config.trainer.logger):
        if logger.class_path.endswith("WandbLogger"):
            logger.init_args.save_dir = str(folder.path)
            logger.init_args.name = f"{config.experiment}-{folder.path.name}"
            logger.init_args.id = logger.init_args.name
            logger.init_args.version = None
            logger.init_args.resume = "allow"
            _start_offline_unless_logged_in(folder)


def _loggers(configured: Any) -> list[Namespace]:
    if isinstance(configured, list):
        return configured
    return [configured] if isinstance(configured, Namespace) else []


@rank_zero_only
def _start_offline_unless_logged_in(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True, exist_ok=True)  # W&B goes elsewhere where it finds no folder
    if "WANDB_MODE" not in os.environ and not wandb.login(prompt=False, verify=False):
        wandb.setup(wandb.Settings(mode="offline"))
        print(
            f"W&B: not logged in, so this run stays offline; upload it with: wandb sync {folder.path}/wandb/offline-*"
        )
