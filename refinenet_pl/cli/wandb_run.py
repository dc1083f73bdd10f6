"""Sets up the W&B logger of a run: its folder, its id, and offline mode without an account or a network."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import wandb
from jsonargparse import Namespace
from pydantic import ValidationError
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.servers import answers
from refinenet_pl.text import join

PATIENCE = 6.0
"""Seconds to wait for an answer of W&B's server, before a run stays offline."""


def set_up_wandb(config: Namespace, folder: RunFolder, run_id: str) -> None:
    """Set folder, name and id of the configured W&B logger, if there is one.

    The id contains the run's id, so that a resumed run continues in W&B too, also in a folder that was renamed.

    Raises:
        UserError: W&B does not accept the project's name, or a variable of the environment.
    """
    for logger in _loggers(config.trainer.logger):
        if logger.class_path.endswith("WandbLogger"):
            logger.init_args.save_dir = str(folder.path)
            logger.init_args.name = f"{config.experiment}-{run_id}"
            # W&B refuses some punctuation in an id, and shows the name, which may have any.
            logger.init_args.id = re.sub(r"[^\w.-]", "-", logger.init_args.name)
            logger.init_args.version = None
            logger.init_args.resume = "allow"
            _check_variables()
            _check_project(logger.init_args.project)
            if not logger.init_args.offline:
                _start_offline_without_server(folder)


def _loggers(configured: Any) -> list[Namespace]:
    if isinstance(configured, list):
        return configured
    return [configured] if isinstance(configured, Namespace) else []


def _check_variables() -> None:
    try:
        wandb.Settings().update_from_env_vars(dict(os.environ))
    except ValidationError as error:
        found = (
            f"WANDB_{str(each['loc'][0]).upper()}: {each['msg']}, but found {each['input']}" for each in error.errors()
        )
        raise UserError(f"W&B: {join(found)}. Correct or unset it") from error


def _check_project(project: str | None) -> None:
    try:
        wandb.Settings(project=project or os.environ.get("WANDB_PROJECT"))
    except wandb.errors.UsageError as error:
        advice = "; an account or team goes into trainer.logger.entity" if "/" in str(project) else ""
        raise UserError(f"trainer.logger.project: {error}{advice}") from error


@rank_zero_only
def _start_offline_without_server(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True, exist_ok=True)  # W&B writes elsewhere if the folder does not exist
    settings = wandb.setup().settings  # with the environment and the user's own settings
    if "WANDB_MODE" in os.environ or settings.mode != "online":
        return
    if not wandb.login(prompt=False, verify=False):
        reason = "not logged in"
    elif not answers(settings.base_url, PATIENCE):
        reason = f"no answer from {settings.base_url}"
    else:
        return
    wandb.setup(wandb.Settings(mode="offline"))
    print(f"W&B: {reason}; this run stays offline. To upload it: wandb sync {folder.path}/wandb/offline-*")


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
