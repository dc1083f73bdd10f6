"""Decides what `fit --ckpt_path` does: continue a run in its folder, continue it in a new folder, or refuse."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.cli.torchrun import NO_ID, RESTARTS, RUN_ID
from refinenet_pl.differences import differences
from refinenet_pl.errors import UserError
from refinenet_pl.locks import LOCKED, try_lock
from refinenet_pl.runs import RunFolder
from refinenet_pl.text import join
from refinenet_pl.training.plan import Progress, read_progress
from refinenet_pl.weights.checkpoint import CONFIG_KEY, RUN_KEY, read_checkpoint, run_config

UNRELATED = (
    *("config", "ckpt_path", "weights_only", "experiment", "runs", "pictures", "threads"),
    *("trainer.logger", "trainer.default_root_dir", "trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("checkpoint.dirpath", "data.init_args.num_workers", "data.init_args.cache_dir"),
    *(
        "model.weights",
        "model.encoder_weights",
        "model.network.init_args.encoder_weights",
    ),  # replaced by the checkpoint
)
"""Settings that do not change the training. A continuation may change them."""

APPLIED = (
    *("trainer", "checkpoint", "data.init_args.root", "data.init_args.batch_size"),
    "data.init_args.eval_batch_size",
    *("model.optimizer.init_args", "model.encoder_lr_factor", "model.schedule"),
    *("model.inference", "model.validation_inference", "model.compile", "model.channels_last"),
)
"""Settings that a continuation may change. They hold from its first step on, and the history names them."""

BETWEEN_EPOCHS = (
    *("data.init_args.batch_size", "trainer.devices", "trainer.num_nodes", "trainer.accumulate_grad_batches"),
    "trainer.limit_train_batches",
)
"""Settings that a continuation may change only at the start of an epoch, because they cut it into other batches."""

AVERAGING = ("EMA", "WeightAveraging", "EMAWeightAveraging", "StochasticWeightAveraging")
"""Callbacks that average weights. A checkpoint holds either averaged weights or none, so that a run keeps them."""


@dataclass(frozen=True)
class Start:
    """Where and from which state a training starts.

    Attributes:
        folder: The run folder.
        run_id: The id of the run, which all its parts share.
        checkpoint: The checkpoint to continue from; None for a new training.
        step: Optimizer steps before this part of the run.
        changes: By key, the earlier and the new value of each setting that changes.
        new: Whether the folder is new.
    """

    folder: RunFolder
    run_id: str
    checkpoint: Path | None = None
    step: int = 0
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    new: bool = True


class NothingLeft(Exception):
    """The run is finished, and the command asks for nothing more."""


def start_new(folder: RunFolder) -> Start:
    """Return the start of a new training in a new folder."""
    return Start(folder, folder.name)


def plan_continuation(checkpoint: Path, config: Mapping[str, Any], new_folder: RunFolder, named: bool) -> Start:
    """Decide where a training continues from a checkpoint. Nothing is written.

    It continues in the folder of the checkpoint if that is the folder of the run that wrote it, and if the run is not
    finished. Otherwise it continues in a new folder.

    Args:
        checkpoint: The checkpoint's file.
        config: The whole configuration of the command.
        new_folder: The folder to use if the run is not continued in its own.
        named: Whether the command names the experiment or the folder of all runs, and so asks for a new folder.

    Raises:
        UserError: The checkpoint lacks the state of the training, or the command asks for another training than the
            checkpoint's, or for more steps of a finished run without a name for the new run.
        NothingLeft: The run is finished, and nothing changes.
    """
    saved = read_checkpoint(checkpoint, needs_config=False)
    progress = training_progress(saved, checkpoint)
    changes = check_changes(run_config(saved, checkpoint), config, checkpoint) if CONFIG_KEY in saved else {}
    wrong = [key for key in changes if key in BETWEEN_EPOCHS]
    if wrong and progress.in_epoch:
        raise UserError(
            f"--ckpt_path: {checkpoint} is from the middle of an epoch, and {join(wrong)} can change only between "
            "epochs; leave it as it is, or continue from a checkpoint of the end of an epoch"
        )
    step = progress.step
    run_id = (saved.get(RUN_KEY) or {}).get("id")
    own = RunFolder.of_checkpoint(checkpoint)
    history = own.read_history() if own else None
    if own is None or history is None or history["id"] != run_id or named:
        return Start(new_folder, new_folder.name, checkpoint, step, changes)
    if own.finished and not own.out_of_time:
        if changes:
            raise UserError(
                f"{own.path} is finished after {step} steps, and a finished run is not changed. To train on from it "
                "in a new folder, add --experiment and a name for the new run"
            )
        raise NothingLeft(
            f"{own.path} is finished: nothing is left to do. To train on from it, raise trainer.max_epochs or "
            "trainer.max_steps, and name the new run with --experiment"
        )
    return Start(own, run_id, checkpoint, step, changes, new=False)


def training_progress(saved: Mapping[str, Any], checkpoint: Path) -> Progress:
    """Return how far the training of a checkpoint was.

    Args:
        saved: The content of the checkpoint.
        checkpoint: The checkpoint's file, for the message.

    Raises:
        UserError: The checkpoint lacks what a continuation needs, such as the state of the optimizer.
    """
    missing = [key for key in ("loops", "optimizer_states", "lr_schedulers") if key not in saved]
    try:
        if not missing:
            return read_progress(saved)
        found = f"it has no {join(missing)}"
    except (KeyError, TypeError, ValueError) as error:  # a counter is missing, or of another type
        found = f"its counters are incomplete: {error!r}"
    raise UserError(
        f"--ckpt_path: {checkpoint} cannot be continued ({found}); expected a checkpoint with the state of the "
        f"training, as `refinenet fit` saves it. To start a new training from its weights: --model.weights={checkpoint}"
    )


def check_changes(saved: Mapping[str, Any], config: Mapping[str, Any], checkpoint: Path) -> dict[str, tuple[Any, Any]]:
    """Return the settings that a continuation changes.

    Args:
        saved: The configuration in the checkpoint.
        config: The configuration of the command.
        checkpoint: The checkpoint's file, for the message.

    Raises:
        UserError: The command changes more than a continuation may change.
    """
    changed = differences(saved, config, both_complete=True)
    found = {key: pair for key, pair in changed.items() if not _is_part_of(key, UNRELATED)}
    refused = {key: pair for key, pair in found.items() if not _is_part_of(key, APPLIED)}
    averaging = (_averaging(saved), _averaging(config))
    if differences({"callbacks": averaging[0]}, {"callbacks": averaging[1]}, both_complete=True):
        refused["trainer.callbacks"] = averaging
    if refused:
        raise UserError(
            f"--ckpt_path: {checkpoint} is from another training. These settings differ: {describe(refused)}. "
            f"To continue that training: refinenet fit --ckpt_path {checkpoint}, without these settings. To start a "
            f"new training from its weights (fine-tune), give --model.weights={checkpoint} instead of --ckpt_path. "
            f"To evaluate it: refinenet validate --ckpt_path {checkpoint}"
        )
    return found


def describe(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """Return the changes as text: each key with the earlier and the new value."""
    return join((f"{key}: {_short(old)} -> {_short(new)}" for key, (old, new) in changes.items()), limit=6)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_part_of(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def _averaging(config: Mapping[str, Any]) -> list[Any]:
    callbacks = config.get("trainer", {}).get("callbacks") or []
    entries = callbacks if isinstance(callbacks, list) else [callbacks]
    return [entry for entry in entries if str(entry.get("class_path")).rpartition(".")[2] in AVERAGING]


@rank_zero_only
def lock_run(folder: RunFolder, resources: ExitStack) -> None:
    """Lock a run folder for this process; the main process locks for all processes of a training.

    Args:
        folder: The run folder. It is created if it does not exist.
        resources: Keeps the lock until it is closed.

    Raises:
        UserError: Another process trains the run.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    file = resources.enter_context(folder.lock.open("a"))
    if not try_lock(file):
        raise UserError(f"{folder.path} is {LOCKED}; wait until it ends, or stop it")
    # The workers of a loader must not hold it: they outlive a killed process by seconds, and its job starts again.
    os.register_at_fork(after_in_child=file.close)


def requeued() -> bool:
    """Return whether a cluster or torchrun has started this job again."""
    return any(os.environ.get(name, "0") not in ("", "0") for name in ("SLURM_RESTART_COUNT", RESTARTS))


def requeued_checkpoint(new_folder: RunFolder, config: Mapping[str, Any]) -> Path | None:
    """Return the last checkpoint of the run that this job started before it was started again.

    Args:
        new_folder: The folder that a new run would have. Runs of the same experiment are beside it.
        config: The whole configuration of the command. It tells several runs of one job apart.

    Returns:
        None if the job is not started again, or its newest run has no checkpoint yet.
    """
    job = job_name()
    if job is None or not requeued():
        return None
    for path in sorted(new_folder.path.parent.glob("*/"), reverse=True):
        folder = RunFolder(path)
        parts = (folder.read_history() or {"parts": []})["parts"]
        if any(part.get("job") == job for part in parts):
            found = differences(folder.read_config(), config, both_complete=True)
            if all(_is_part_of(key, UNRELATED) for key in found):
                # An older run of this name is of an earlier job: torchrun's names can repeat.
                return folder.last_checkpoint if folder.last_checkpoint.is_file() else None
    return None


def job_name() -> str | None:
    """Return a name of the cluster job that this process belongs to, which stays when the job is started again."""
    values = os.environ
    if "SLURM_JOB_ID" in values:
        array = values.get("SLURM_ARRAY_JOB_ID")
        return f"slurm-{array}_{values['SLURM_ARRAY_TASK_ID']}" if array else f"slurm-{values['SLURM_JOB_ID']}"
    if RESTARTS in values:
        name = values.get(RUN_ID, NO_ID)
        if name == NO_ID:
            name = f"{values.get('MASTER_ADDR')}:{values.get('MASTER_PORT')}"
        return f"torchrun-{name}"
    return None
