"""Records a run: its configuration and history in the run folder, in each checkpoint, and with the loggers."""

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import Callback, Timer

from refinenet_pl.cli.continuation import Start, job_name
from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.runs import OUT_OF_TIME
from refinenet_pl.text import join
from refinenet_pl.training.manifest import source_code
from refinenet_pl.training.media import start_logging
from refinenet_pl.training.task import SegmentationTask
from refinenet_pl.weights.checkpoint import CONFIG_KEY, RUN_KEY


class RunRecorder(Callback):
    """Writes `config.yaml` once, and appends to `history.json` whenever a training is started or continued.

    Args:
        start: Where the run starts.
        config: The whole configuration.
        command: The command.
    """

    def __init__(self, start: Start, config: Mapping[str, Any], command: str) -> None:
        self.start = start
        self.config = config
        self.command = command
        self.recorded = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Record the start, before the first step."""
        if self.recorded or not trainer.is_global_zero:
            return
        self.recorded = True
        if self.start.new:
            with atomic_write(self.start.folder.config) as file:
                file.write_text(yaml.safe_dump(self.config, sort_keys=False), encoding="utf-8")
        if stage == "fit":
            self.record_part(trainer)

    def record_part(self, trainer: pl.Trainer) -> None:
        """Append to the history of a training, and pass the configuration to the loggers."""
        code = source_code()
        part = {
            "time": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": self.command,
            "code": code,
            "job": job_name(),
            "step": self.start.step,
            "checkpoint": None if self.start.checkpoint is None else str(self.start.checkpoint),
            "changes": {key: list(pair) for key, pair in self.start.changes.items()},
        }
        self.start.folder.add_part(self.start.run_id, part)
        for logger in trainer.loggers:
            start_logging(logger, {**self.config, "command": self.command, "code": code})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the planned steps, which are known now."""
        assert isinstance(pl_module, SegmentationTask)
        steps = pl_module.plan["total_steps"]
        if trainer.is_global_zero:
            self.start.folder.complete_part(planned_steps=steps if steps < math.inf else None)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record whether the training is complete, or its time is over."""
        timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
        over = any((timer.time_remaining() or 1) <= 0 for timer in timers)
        if trainer.is_global_zero:
            self.start.folder.complete_part(end=OUT_OF_TIME if over else "complete")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the configuration, so that the checkpoint can be evaluated anywhere, and the id of the run."""
        checkpoint[CONFIG_KEY] = yaml.safe_dump(self.config, sort_keys=False)
        checkpoint[RUN_KEY] = {"id": self.start.run_id}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Follow a run folder that was moved or copied, so that its best score and checkpoint are kept.

        Raises:
            UserError: The checkpoint names files elsewhere, which Lightning could delete as old checkpoints.
        """
        for state in checkpoint.get("callbacks", {}).values():
            if isinstance(state, dict) and (other := files_elsewhere(state)):
                raise UserError(
                    f"{self.start.checkpoint}: names {join(other, 3)} as checkpoints of its run; expected files in its "
                    "folder. Start a new training from its weights with --model.weights"
                )
        if self.start.new or self.start.checkpoint is None:
            return
        folder = self.start.checkpoint.resolve().parent
        for state in checkpoint.get("callbacks", {}).values():
            if isinstance(state, dict) and "best_model_path" in state and state.get("dirpath"):
                earlier = Path(state["dirpath"])
                if earlier.name == folder.name and earlier != folder:
                    _replace_folder(state, str(earlier), str(folder))


def files_elsewhere(state: Mapping[str, Any]) -> list[str]:
    """Return the files in the state of a ModelCheckpoint that lead out of its folder, which Lightning does not see."""
    folder = str(state.get("dirpath"))
    files = [*(state.get("best_k_models") or {}), state.get("kth_best_model_path"), state.get("last_model_path")]
    return [
        str(file)
        for file in filter(None, files)
        if ".." in PurePath(str(file)).parts or ("://" in str(file) and not str(file).startswith(folder))
    ]


def _replace_folder(state: dict[str, Any], earlier: str, folder: str) -> None:
    """Replace the folder in the paths of a ModelCheckpoint's state, in place."""
    for key, value in state.items():
        if isinstance(value, str):
            state[key] = value.replace(earlier, folder, 1) if value.startswith(earlier) else value
        elif isinstance(value, dict):
            state[key] = {path.replace(earlier, folder, 1): score for path, score in value.items()}
