"""Ctrl-C and SIGTERM end a command at the next step, with a checkpoint, one line and their own exit status."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.commands import fit_options, only_run, refinenet

from refinenet_pl.runs import RunFolder


def start(folder: Path, *options: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "refinenet_pl", *map(str, options)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload]


def wait_for_checkpoint(runs: Path, process: subprocess.Popen[str]) -> RunFolder:
    while not list(runs.glob("*/*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return RunFolder(only_run(runs))


@pytest.mark.parametrize(
    ("signum", "status", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_signal_saves_and_says_how_to_go_on(signum, status, name, fake_camvid, tmp_path, monkeypatch):
    options = [*fit_options(fake_camvid, tmp_path), "--checkpoint.every_n_steps=1", "--trainer.max_epochs=100000"]
    process = start(tmp_path, "fit", *options)
    run = wait_for_checkpoint(tmp_path, process)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status
    assert "Traceback" not in errors
    message = rf"refinenet: stopped by {name} at step (\d+); to go on: refinenet (.*)"
    last = re.fullmatch(message, errors.splitlines()[-1])
    assert last is not None
    assert torch.load(run.last_checkpoint)["global_step"] == int(last[1])
    epochs = torch.load(run.last_checkpoint)["epoch"] + 1
    if signum == signal.SIGTERM:  # one is enough: both are saved by the same code
        assert refinenet(monkeypatch, *last[2].split(), f"--trainer.max_epochs={epochs}") == 0
        assert run.finished


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_all_processes_stop(signum, whole_group, fake_camvid, tmp_path):
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.callbacks=EMA"]
    # Several steps per epoch: one image is enough where batch norm keeps its statistics.
    two += ["--data.batch_size=1", "--model.batch_norm=frozen_statistics"]
    options = [*fit_options(fake_camvid, tmp_path), "--checkpoint.every_n_steps=1", "--trainer.max_epochs=100000", *two]
    process = start(tmp_path, "fit", *options)
    run = wait_for_checkpoint(tmp_path, process)
    (os.killpg if whole_group else os.kill)(process.pid, signum)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signum
    assert errors.count("stopped by") == 1
    assert len(torch.load(run.last_checkpoint)["callbacks"]["RandomState"]["ranks"]) == 2


SLOW = """
import time
from pathlib import Path

from pytorch_lightning import Callback


class Slow(Callback):
    def on_train_batch_start(self, *_):
        if Path("slow").exists():
            Path("started").touch()
            time.sleep(1000)

    def on_validation_batch_start(self, *_):
        if Path("slow").exists():
            Path("started").touch()
            time.sleep(1)
"""


def wait_until_slow(folder: Path, process: subprocess.Popen[str]) -> None:
    (folder / "slow").touch()
    while not (folder / "started").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_second_ctrl_c_ends_at_once(fake_camvid, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    options = [*fit_options(fake_camvid, tmp_path), "--checkpoint.every_n_steps=1", "--trainer.max_epochs=100000"]
    process = start(tmp_path, "fit", *options, "--trainer.limit_val_batches=0", "--trainer.callbacks=slow.Slow")
    wait_for_checkpoint(tmp_path, process)
    wait_until_slow(tmp_path, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "press Ctrl-C again" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "stopped at once; to go on: refinenet fit --ckpt_path" in errors


def test_evaluation_stops(trained_run, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    process = start(tmp_path, "validate", "--ckpt_path", trained_run, "--trainer.callbacks=slow.Slow")
    wait_until_slow(tmp_path, process)
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143
    assert errors.splitlines()[-1] == "refinenet: stopped by SIGTERM"
    assert not list(tmp_path.rglob("results.json"))
