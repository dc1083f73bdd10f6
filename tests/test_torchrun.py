"""torchrun starts a training again after a process has died: the training continues in its own run folder."""

import csv
import subprocess
import sys

import pytest
from helpers.commands import fit_options, only_run

from refinenet_pl.cli.continuation import requeued_checkpoint
from refinenet_pl.runs import RunFolder

DIE_ONCE = """
import os
from pathlib import Path

from pytorch_lightning import Callback


class DieOnce(Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 3 and trainer.global_rank == trainer.world_size - 1 and not Path("died").exists():
            Path("died").touch()
            os._exit(7)
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_restart_continues_the_run(processes, fake_camvid, tmp_path):
    (tmp_path / "die.py").write_text(DIE_ONCE)
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--max_restarts=1"]
    options = [*fit_options(fake_camvid, tmp_path / "runs"), "--trainer.callbacks=die.DieOnce"]
    options += [f"--trainer.devices={processes}", "--trainer.strategy=ddp", "--checkpoint.every_n_steps=1"]
    command = [*torchrun, "-m", "refinenet_pl", "fit", *options, "--trainer.max_epochs=-1", "--trainer.max_steps=6"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    run = RunFolder(only_run(tmp_path / "runs"))
    assert run.finished
    parts = (run.read_history() or {})["parts"]
    assert [part["step"] for part in parts] == [0, 3]
    assert parts[0]["job"] == parts[1]["job"]
    with run.metrics.open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file) if row["train/loss"]] == list(range(6))


def test_run_of_an_earlier_job_is_not_continued(tmp_path, monkeypatch):
    """Two jobs of torchrun can have the same name. The second one was started again before its first checkpoint."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    for name, value in {"RUN_ID": "none", "RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}", value)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    for name in ("20260101-000000-aaaa", "20260102-000000-bbbb"):
        run = RunFolder(tmp_path / name)
        run.checkpoints.mkdir(parents=True)
        run.config.write_text("seed_everything: 0\n")
        run.add_part(name, {"job": "torchrun-localhost:29500"})
    found = [requeued_checkpoint(RunFolder(tmp_path / "new"), {"seed_everything": seed}) for seed in (0, 1)]
    assert found == [None, None]
    RunFolder(tmp_path / "20260101-000000-aaaa").last_checkpoint.touch()
    assert requeued_checkpoint(RunFolder(tmp_path / "new"), {"seed_everything": 0}) is None
    run.last_checkpoint.touch()
    assert requeued_checkpoint(RunFolder(tmp_path / "new"), {"seed_everything": 0}) == run.last_checkpoint
    assert requeued_checkpoint(RunFolder(tmp_path / "new"), {"seed_everything": 1}) is None
