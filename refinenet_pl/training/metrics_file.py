"""A Lightning logger that writes one CSV file per run, over all parts of a resumed run."""

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.files import atomic_write
from refinenet_pl.runs import RunFolder

Row = dict[str, Any]


class MetricsFile(Logger):
    """Writes the metrics that a training logs to `metrics.csv`, one row per call, sorted by step.

    Rows are written at once, so that a killed run keeps them.

    Args:
        folder: The run folder.
        first_step: Number of optimizer steps before this part of the run. Rows of later steps, which an interrupted
            part wrote after its last checkpoint, are removed before the first new row is written.
    """

    def __init__(self, folder: str | Path, first_step: int = 0) -> None:
        super().__init__()
        self.folder = RunFolder(Path(folder))
        self.first_step = first_step
        self.columns: list[str] | None = None

    @property
    def name(self) -> str:
        """Empty: the run folder has no folder per logger."""
        return ""

    @property
    def version(self) -> str:
        """Empty: the run folder has no folder per version."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.folder.path)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Write nothing: the run folder has the configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row.

        Args:
            metrics: Values by name.
            step: Number of optimizer steps before this one.
        """
        row = {"step": step, **metrics}
        if self.columns is None:
            self._write([*self._earlier_rows(), row])
        elif new := [name for name in row if name not in self.columns]:
            self._write([*self._read(), dict.fromkeys(new, "") | row])
        else:
            with self.folder.metrics.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns).writerow(row)

    def _earlier_rows(self) -> list[Row]:
        whole = (row for row in self._read() if None not in row.values())  # a power failure can cut the last row short
        return [row for row in whole if int(row["step"]) < self.first_step]

    def _read(self) -> list[Row]:
        if not self.folder.metrics.is_file():
            return []
        with self.folder.metrics.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write(self, rows: list[Row]) -> None:
        self.columns = list(dict.fromkeys(name for row in rows for name in row))
        with atomic_write(self.folder.metrics) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)
