"""Sets up the W&B logger of a run: its folder, its id, and offline mode without an account."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import wandb
from jsonargparse import Namespace
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.runs import RunFolder


def set_up_wandb(config: Namespace, folder: RunFolder) -> None:
    """Set folder, name and id of the configured W&B logger, if there is one.

    The id contains the name of the run folder, so that a resumed run continues in W&B too.
    """
    for logger in _loggers(config.trainer.logger):
        if logger.class_path.endswith("WandbLogger"):
            logger.init_args.save_dir = str(folder.path)
            logger.init_args.name = f"{config.experiment}-{folder.name}"
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
    folder.path.mkdir(parents=True, exist_ok=True)  # W&B writes elsewhere if the folder does not exist
    if "WANDB_MODE" not in os.environ and not wandb.login(prompt=False, verify=False):
        wandb.setup(wandb.Settings(mode="offline"))
        print(f"W&B: not logged in; this run stays offline. To upload it: wandb sync {folder.path}/wandb/offline-*")


@contextmanager
def failure_told() -> Iterator[None]:
    """Record the W&B run as failed if an exception ends the command.

    W&B takes the exit status from `sys.exit`, which it replaces when a run starts. A script that calls
    `sys.exit(main())` has looked the function up before, so that W&B would record a success.
    """
    try:
        yield
    except BaseException:
        if wandb.run is not None:
            wandb.finish(exit_code=1)
        raise
