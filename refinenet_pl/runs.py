"""The run folder `runs/EXPERIMENT/TIME/`: the name of each file in it, and how to read it."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from refinenet_pl.files import read_json, read_yaml


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
        """
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
        """Logged metrics as CSV; for a resumed run, those of its newest part."""
        return self.path / "metrics.csv"

    @property
    def metrics_parts(self) -> list[Path]:
        """The existing files of logged metrics, oldest first: one per time that the run was resumed, then `metrics`."""
        parts = sorted(
            self.path.glob("metrics.part*.csv"), key=lambda path: int(path.stem.removeprefix("metrics.part"))
        )
        return [*parts, *([self.metrics] if self.metrics.is_file() else [])]

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

    def read_config(self) -> dict[str, Any]:
        """Read the configuration; raise UserError if that fails."""
        return read_yaml(self.config, "run")

    def read_results(self) -> dict[str, Any]:
        """Read the metrics of the final evaluation; raise UserError if that fails."""
        return read_json(self.results, "evaluate the run again")

    def read_costs(self) -> dict[str, Any] | None:
        """Read time and memory of the training, or None if the file does not exist; raise UserError if that fails."""
        return read_json(self.costs, "train the run again") if self.costs.is_file() else None

    def set_metrics_aside(self) -> None:
        """Rename the logged metrics of an interrupted run, because the resumed run's logger starts a new file."""
        if self.metrics.is_file():
            self.metrics.rename(self.path / f"metrics.part{len(self.metrics_parts)}.csv")
