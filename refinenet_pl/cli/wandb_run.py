"""Sets up the W&B logger of a run: its folder, its id, and offline mode without an account or a network."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import wandb
from jsonargparse import Namespace
from pydantic import ValidationError
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.cli.continuation import Start
from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.servers import answers
from refinenet_pl.text import join


def set_up_wandb(logger: Namespace, experiment: str, start: Start) -> None:
    """Set folder, name and id of a configured W&B logger. A name that the user gives stays.

    The id contains the run's id, so that a resumed run continues in W&B too, also in a folder that was renamed.

    Raises:
        UserError: W&B does not accept the project's name, or a variable of the environment.
    """
    arguments = logger.init_args
    name = f"{experiment}-{start.run_id}"
    arguments.save_dir = str(start.folder.path)
    if arguments.name is None and not os.environ.get("WANDB_NAME"):
        arguments.name = name
    # W&B refuses some punctuation in an id, and shows the name, which may have any.
    arguments.id = re.sub(r"[^\w.-]", "-", name)
    arguments.version = None
    arguments.resume = "allow"
    arguments.log_model = False  # log_best_checkpoint does it, also offline
    _check_variables()
    _check_project(arguments.project)
    _choose_mode(start.folder, arguments.offline)


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
def _choose_mode(folder: RunFolder, offline: bool) -> None:
    """Let the run stay offline if W&B cannot be reached, and print how to upload an offline run."""
    folder.path.mkdir(parents=True, exist_ok=True)  # W&B writes elsewhere if the folder does not exist
    # With the environment and the user's own settings. Quiet: W&B prints the address of the run, and little else.
    settings = wandb.setup(wandb.Settings(quiet=True)).settings
    if offline or settings.mode in ("offline", "dryrun"):
        reason = "as configured"
    elif "WANDB_MODE" in os.environ or settings.mode != "online":
        return
    elif not wandb.login(prompt=False, verify=False):
        reason = "not logged in"
    elif not answers(settings.base_url):
        reason = f"no answer from {settings.base_url}"
    else:
        return
    wandb.setup(wandb.Settings(mode="offline", silent=True))  # it would print the upload of one part alone
    # The folder holds one part of the run for each time that it was resumed offline. W&B joins them.
    print(f"W&B: {reason}; this run stays offline. To upload it, with all its parts: wandb sync {folder.path}/wandb")


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
