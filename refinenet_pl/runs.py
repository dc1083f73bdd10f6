"""The run folder `runs/EXPERIMENT/TIME/`: the name of each file in it, and how to read it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from refinenet_pl.errors import UserError
from refinenet_pl.files import MAX_NAME_BYTES, read_json, read_yaml, write_json

OUT_OF_TIME = "max_time"
"""How a part of the history ended, if the limit of the training time ended it."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run. Nothing needs to exist yet.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def create_name(cls, runs: str | Path, experiment: str, suffix: str = "") -> "RunFolder":
        """Choose a new name for a folder; it is not created yet.

        Args:
            runs: Folder of all runs.
            experiment: Name of the experiment.
            suffix: Appended to the name.

        Raises:
            UserError: The name of the experiment would lead out of the folder of all runs, is too long, or is not
                Unicode text.
        """
        if experiment in ("", ".", "..") or {"/", "\\", "\0"} & {*experiment}:
            raise UserError(
                f"experiment: found {experiment!r}; expected a name for a folder in {runs}, without / and not .. itself"
            )
        try:
            length = len(experiment.encode())
        except UnicodeEncodeError as error:
            raise UserError(f"experiment: {experiment!r} is not Unicode text; expected a name for a folder") from error
        if length > MAX_NAME_BYTES:
            raise UserError(f"experiment: {experiment!r} is too long; expected at most {MAX_NAME_BYTES} bytes")
        # The time comes first, so that names sort by time. The letters separate two runs of the same second.
        return cls(Path(runs) / experiment / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}{suffix}")

    @classmethod
    def of_checkpoint(cls, checkpoint: str | Path) -> "RunFolder | None":
        """Return the run folder of a checkpoint; None if the checkpoint is not in one."""
        folder = cls(Path(checkpoint).resolve().parent.parent)
        return folder if folder.config.is_file() else None

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.name

    @property
    def config(self) -> Path:
        """The complete configuration."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint with the highest validation mean IoU."""
        return self.checkpoints / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """The newest checkpoint, from which the run is resumed."""
        return self.checkpoints / "last.ckpt"

    @property
    def results(self) -> Path:
        """All metrics of the final evaluation."""
        return self.path / "results.json"

    @property
    def per_image(self) -> Path:
        """The confusion matrix of each image of the final evaluation."""
        return self.path / "per_image.npz"

    @property
    def costs(self) -> Path:
        """Time and memory of the training."""
        return self.path / "costs.json"

    @property
    def metrics(self) -> Path:
        """Logged metrics as CSV, over all parts of a resumed run."""
        return self.path / "metrics.csv"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files, if the training logs to it."""
        return self.path / "tensorboard"

    @property
    def history(self) -> Path:
        """The id of the run, and one entry for each time that it was started or resumed."""
        return self.path / "history.json"

    @property
    def lock(self) -> Path:
        """The process that trains the run holds a lock on this file."""
        return self.path / "lock"

    @property
    def manifest(self) -> Path:
        """What a training depends on: code, packages, machine, data and configuration."""
        return self.path / "manifest.json"

    @property
    def first_steps(self) -> Path:
        """Hashes of the first training steps."""
        return self.path / "first_steps.json"

    @property
    def replay(self) -> Path:
        """The step that stopped the training because its loss or a gradient was not finite."""
        return self.path / "replay.pt"

    @property
    def pictures(self) -> Path:
        """Folder of image, target and prediction of some validation samples."""
        return self.path / "pictures"

    @property
    def predictions(self) -> Path:
        """Folder of the masks that a study's page shows."""
        return self.path / "predictions"

    @property
    def finished(self) -> bool:
        """Whether the results of the final evaluation exist."""
        return self.results.is_file()

    @property
    def out_of_time(self) -> bool:
        """Whether the newest part ended because of `max_time`, so that the run has results but is not complete."""
        history = self.read_history()
        return bool(history and history["parts"] and history["parts"][-1].get("end") == OUT_OF_TIME)

    def read_config(self) -> dict[str, Any]:
        """Read the configuration; raise UserError if that fails."""
        return read_yaml(self.config, "run")

    def read_results(self) -> dict[str, Any]:
        """Read the metrics of the final evaluation; raise UserError if that fails."""
        results = read_json(self.results, "evaluate the run again")
        if not isinstance(results.get("versions", {}), dict):
            raise UserError(f"{self.results}: expected dict at the key 'versions'; evaluate the run again")
        return results

    def read_costs(self) -> dict[str, Any] | None:
        """Read time and memory of the training, or None if the file does not exist; raise UserError if that fails."""
        return read_json(self.costs, "train the run again") if self.costs.is_file() else None

    def read_history(self) -> dict[str, Any] | None:
        """Read the id and the parts of the run, or None if the file does not exist; raise UserError if that fails."""
        if not self.history.is_file():
            return None
        advice = "restore the file, or move it away and start a new run with --experiment"
        history = read_json(self.history, advice, {"id": str, "parts": list})
        if not all(isinstance(part, dict) for part in history["parts"]):
            raise UserError(f"{self.history}: expected a list of mappings at the key 'parts'; {advice}")
        return history

    def add_part(self, run_id: str, part: Mapping[str, Any]) -> None:
        """Append an entry to the history.

        Args:
            run_id: The id of the run, which all its parts share.
            part: When, how and from which step the run was started or resumed.
        """
        parts = (self.read_history() or {"parts": []})["parts"]
        write_json(self.history, {"id": run_id, "parts": [*parts, part]})

    def complete_part(self, **values: Any) -> None:
        """Add values to the newest part of the history: `planned_steps` of the run, or why it ended as `end`."""
        history = self.read_history()
        if history is not None:
            history["parts"][-1].update(values)
            write_json(self.history, history)
