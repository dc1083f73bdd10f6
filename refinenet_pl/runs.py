"""The run folder `runs/EXPERIMENT/TIME/`: the name of every file in it, and how to read them."""

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
        """A folder with a new name; it is not created yet.

        Args:
            runs: Folder of all runs.
            experiment: Name of the experiment.
            suffix: End of the name.
        """
        # The time comes first, so that runs sort by it. The letters separate two runs of one second.
        return cls(Path(runs) / experiment / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}{suffix}")

    @classmethod
    def of_checkpoint(cls, checkpoint: str | Path) -> "RunFolder | None":
        """The run folder that a checkpoint lies in; None if the checkpoint lies elsewhere."""
        folder = cls(Path(checkpoint).resolve().parent.parent)
        return folder if folder.config.is_file() else None

    @property
    def name(self) -> str:
        """The last part of the path."""
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
        """The checkpoint of the last finished epoch."""
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
        """What the training logged, as CSV; the newest part of a resumed run."""
        return self.path / "metrics.csv"

    @property
    def metrics_parts(self) -> list[Path]:
        """The existing metrics files, oldest first: one for each time the run was resumed, then `metrics`."""
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
        """Whether the final evaluation has been written."""
        return self.results.is_file()

    def read_config(self) -> dict[str, Any]:
        """The configuration; raises UserError if it cannot be read."""
        return read_yaml(self.config, "run")

    def read_results(self) -> dict[str, Any]:
        """The metrics of the final evaluation; raises UserError if they cannot be read."""
        return read_json(self.results, "evaluate the run again")

    def read_costs(self) -> dict[str, Any] | None:
        """Time and memory of the training, or None if the run kept none; raises UserError if they cannot be read."""
        return read_json(self.costs, "train the run again") if self.costs.is_file() else None

    def set_metrics_aside(self) -> None:
        """Rename the metrics of an interrupted run, because the logger of the resumed run starts a new file."""
        if self.metrics.is_file():
            self.metrics.rename(self.path / f"metrics.part{len(self.metrics_parts)}.csv")
