"""The training step that failed: saved with all it depends on but the optimizer, and run again."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.text import join
from refinenet_pl.training.first_non_finite import FirstNonFinite
from refinenet_pl.training.random_state import set_generator_states
from refinenet_pl.weights.checkpoint import CONFIG_KEY, read_checkpoint

Batch = dict[str, Any]
REPLAY_KEY = "refinenet_replay"
"""Key of everything in a replay file but configuration and weights, which have the keys of a checkpoint."""
STEP = {"finding": str, "batches": list, "random_states": list, "precision": str, "scaler": dict, "device": str}
"""What is under REPLAY_KEY, with its types."""


def batch_on_cpu(batch: Batch) -> Batch:
    """Return a batch with plain tensors in main memory, which torch reads without running code."""
    return {
        key: value.detach().cpu().as_subclass(Tensor) if isinstance(value, Tensor) else value
        for key, value in batch.items()
    }


def write_replay(
    path: str | Path,
    trainer: pl.Trainer,
    task: pl.LightningModule,
    batches: Sequence[Batch],
    random_states: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    finding: str,
) -> None:
    """Write an optimizer step that was not taken.

    Args:
        path: The file.
        trainer: Its precision and the state of its gradient scaler are saved.
        task: Its weights are those before the step.
        batches: The batches of the step: of all ranks, and several of each if gradients are accumulated.
        random_states: The state before each batch.
        config: Configuration of the run.
        finding: What was not finite.
    """
    step = {
        "finding": finding,
        "batches": list(batches),
        "random_states": list(random_states),
        "precision": trainer.precision,
        "scaler": trainer.precision_plugin.state_dict(),
        "device": task.device.type,
    }
    state = {name: value.detach().cpu().contiguous() for name, value in task.state_dict().items()}
    with atomic_write(path) as file:
        torch.save({CONFIG_KEY: yaml.safe_dump(dict(config)), "state_dict": state, REPLAY_KEY: step}, file)


def read_replay(path: str | Path) -> dict[str, Any]:
    """Read a replay file without running code.

    Raises:
        UserError: The file is missing or damaged, is no replay file, or lacks a part of the step.
    """
    content = read_checkpoint(path)
    if REPLAY_KEY not in content:
        raise UserError(f"{path}: holds no training step; expected the replay file that a stopped training named")
    step, state = content[REPLAY_KEY], content.get("state_dict")
    wrong = [key for key, kind in STEP.items() if not isinstance(step, dict) or not isinstance(step.get(key), kind)]
    if wrong or not isinstance(state, dict) or not all(isinstance(batch, dict) for batch in step["batches"]):
        raise UserError(
            f"{path}: its training step is incomplete ({join(wrong) or 'batches or weights'}); expected the replay "
            "file that a stopped training named, unchanged"
        )
    return content


@dataclass(frozen=True)
class Replayed:
    """What a step gave when it was run again.

    Attributes:
        finite: Whether all of it was finite.
        lines: What was found, for the user.
    """

    finite: bool
    lines: list[str]


def replay(task: pl.LightningModule, content: Mapping[str, Any], folder: str | Path) -> Replayed:
    """Run a step again under anomaly detection.

    Args:
        task: The task of the file's configuration, not compiled. It gets the weights of the file.
        content: As `read_replay` returns it.
        folder: Folder of the trainer, which writes nothing.
    """
    step = content[REPLAY_KEY]
    task.load_state_dict(content["state_dict"])
    available = step["device"] == "cpu" or torch.get_device_module(step["device"]).is_available()
    observer = FirstNonFinite()
    trainer = pl.Trainer(
        accelerator={"cuda": "gpu"}.get(step["device"], step["device"]) if available else "cpu",
        devices=1,
        precision=step["precision"],
        callbacks=[RestoreState(step["random_states"], step["scaler"]), observer],
        accumulate_grad_batches=len(step["batches"]),
        max_steps=1,
        detect_anomaly=True,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    anomaly = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer.fit(task, DataLoader(step["batches"], batch_size=None))
        except RuntimeError as error:
            anomaly = re.search(r"Function '(\w+)' returned nan values", str(error))
            if anomaly is None:
                raise
    lines = observer.lines()
    if anomaly is not None:
        lines.append(f"backward: {anomaly[1]} is the first operation that returns NaN{forward_line(caught)}")
    if not available:
        lines.append(f"this machine has no {step['device']} device: the step ran on the CPU, with other rounding")
    return Replayed(finite=not lines or not (observer.found or anomaly), lines=lines)


class RestoreState(Callback):
    """Restores the random state before each batch, and the gradient scaler."""

    def __init__(self, states: Sequence[Mapping[str, Tensor]], scaler: Mapping[str, Any]) -> None:
        self.states = states
        self.scaler = scaler

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the gradient scaler, which has no state unless the precision is float16."""
        if self.scaler:
            trainer.precision_plugin.load_state_dict(dict(self.scaler))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore the random state."""
        set_generator_states(self.states[batch_idx])


def forward_line(caught: Sequence[warnings.WarningMessage]) -> str:
    """Return the line of code that called the operation of the anomaly, from torch's warning about it."""
    libraries = str(Path(torch.__file__).parent)
    for warning in caught:
        if "Error detected in" in str(warning.message):
            places = re.findall(r'File "(.+)", line (\d+), in \w+\n\s+(.+)', str(warning.message))
            outside = [place for place in places if not place[0].startswith(libraries)]
            if outside:
                file, line, text = outside[-1]
                return f"; it belongs to {file}:{line}: {text}"
    return ""
