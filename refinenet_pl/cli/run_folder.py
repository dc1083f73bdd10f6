"""Where a run writes: `runs/<experiment>/<time>/`, a new folder for each run, or the old one when it is resumed."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jsonargparse import Namespace
from pytorch_lightning.utilities import rank_zero_only


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: configuration, checkpoints, metrics, results and pictures."""

    path: Path

    @classmethod
    def choose(cls, config: Namespace, command: str) -> "RunFolder":
        """The folder of the run that `fit` resumes, else a new name; nothing is made on the disk yet."""
        if command == "fit" and config.ckpt_path:
            folder = Path(config.ckpt_path).resolve().parent.parent
            if (folder / "config.yaml").is_file():
                return cls(folder)
        # The time comes first, so that runs sort by it; the letters tell apart two runs of one second.
        stamp = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        return cls(Path(config.runs) / config.experiment / (stamp if command == "fit" else f"{stamp}-{command}"))

    @rank_zero_only
    def announce(self) -> None:
        """Print the path."""
        print(f"run folder: {self.path}")

    @rank_zero_only
    def keep_earlier_metrics(self) -> None:
        """Move a resumed run's metrics aside, since the logger starts its file anew."""
        metrics = self.path / "metrics.csv"
        if metrics.is_file():
            parts = len(list(self.path.glob("metrics.part*.csv")))
            metrics.rename(self.path / f"metrics.part{parts + 1}.csv")
