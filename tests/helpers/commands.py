"""Runs the real command, in the process of the test or in a new one."""

import subprocess
import sys
from pathlib import Path

import pytest

from refinenet_pl.cli.main import main

TINY_NETWORK = (
    "--model.network=LightWeightRefineNet",
    "--model.network.encoder_name=tu-test_resnet.r160_in1k",
    "--model.network.encoder_weights=null",
)
TINY_TRAINER = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1")


def refinenet(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    """Run `refinenet ARGS` in this process; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["refinenet"])  # the command changes it
    return main([str(arg) for arg in args])


def refinenet_process(folder: Path, *args: str | Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run `python -m refinenet_pl ARGS` in a new process, started in a folder; end it after `timeout` seconds."""
    command = [sys.executable, "-m", "refinenet_pl", *map(str, args)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False)


def fit_options(root: Path, runs: Path, data: str = "CamVidDataModule") -> list[str]:
    """Options of a `fit` that takes seconds."""
    return [
        *TINY_NETWORK,
        *TINY_TRAINER,
        f"--runs={runs}",
        f"--data={data}",
        f"--data.root={root}",
        "--data.batch_size=2",
        "--data.num_workers=0",
        "--data.crop_size=[32,48]",
    ]


def only_run(runs: Path, suffix: str = "") -> Path:
    """Return the only run folder in `runs` whose name ends with the suffix."""
    (folder,) = [path for path in runs.glob("*/*") if path.name.endswith(suffix) or not suffix]
    return folder
