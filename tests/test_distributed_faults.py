"""One of two processes fails or is stopped: the command ends with the message of that process, and leaves none."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.commands import fit_options, only_run, refinenet_process
from helpers.fake_data import make_camvid

from refinenet_pl.runs import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]

TWO = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.num_sanity_val_steps=0")

TROUBLE = """
import os
import time
from pathlib import Path

import torch
from pytorch_lightning import Callback


class Fails(Callback):
    def __init__(self, rank: int):
        self.rank = rank

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_rank == self.rank:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if trainer.global_rank == 1:
            Path("stands_still").write_text(str(os.getpid()))
            time.sleep(1000)


class Slow(Callback):
    def on_validation_batch_start(self, trainer, *_):
        Path(f"process_{trainer.global_rank}").write_text(str(os.getpid()))
        time.sleep(3)
"""


@pytest.fixture(autouse=True)
def _trouble(tmp_path):
    (tmp_path / "trouble.py").write_text(TROUBLE)


def lives(process: int) -> bool:
    """Return whether a process has not ended; one that has ended can stay listed for a moment."""
    return Path(f"/proc/{process}/exe").exists()


def ends(process: int) -> bool:
    """Wait for the end of a process that is not a child of this one."""
    for _ in range(100):
        if not lives(process):
            return True
        time.sleep(0.1)
    return False


def test_process_that_stands_still_is_ended(fake_camvid, tmp_path):
    options = [*fit_options(fake_camvid, tmp_path / "runs"), *TWO]
    done = refinenet_process(
        tmp_path, "fit", *options, "--trainer.callbacks=trouble.Fails", "--trainer.callbacks.rank=0"
    )
    assert done.returncode == 2
    assert done.stderr.count("refinenet: error") == done.stderr.count("refinenet: error: out of GPU memory") == 1
    assert ends(int((tmp_path / "stands_still").read_text()))


def test_failure_of_the_second_process_is_told(fake_camvid, tmp_path):
    options = [*fit_options(fake_camvid, tmp_path / "runs"), *TWO]
    done = refinenet_process(
        tmp_path, "fit", *options, "--trainer.callbacks=trouble.Fails", "--trainer.callbacks.rank=1"
    )
    assert done.returncode == 1
    first, second = [line for line in done.stderr.splitlines() if line.startswith("refinenet: error")]
    assert "out of GPU memory" in first
    assert "another process of this run failed" in second


def test_broken_image_of_the_second_process_is_named(tmp_path):
    root = make_camvid(tmp_path / "camvid", train=4, val=3)
    image = root / "val" / "val_1.png"  # samples are dealt in turn
    image.write_bytes(image.read_bytes()[:100])
    done = refinenet_process(tmp_path, "fit", *fit_options(root, tmp_path / "runs"), *TWO, "--trainer.max_epochs=1")
    assert done.returncode == 1
    assert f"refinenet: error: {image}" in done.stderr
    assert "Traceback" not in done.stderr


def test_evaluation_stops_if_the_second_process_is_asked_to(trained_run, tmp_path):
    options = ["--ckpt_path", trained_run, f"--runs={tmp_path}", *TWO, "--trainer.callbacks=trouble.Slow"]
    command = [sys.executable, "-m", "refinenet_pl", "validate", *map(str, options)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not (second := tmp_path / "process_1").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(0.2)  # until the number is written
    child = int(second.read_text())
    os.kill(child, signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert errors.count("refinenet: stopped by SIGTERM") == 1
    assert ends(child)


def test_training_without_validation_is_evaluated(fake_camvid, tmp_path):
    """All processes take the last checkpoint, in the run folder of the first one."""
    options = [*fit_options(fake_camvid, tmp_path), *TWO, "--trainer.max_epochs=1"]
    done = refinenet_process(tmp_path, "fit", *options, "--trainer.check_val_every_n_epoch=5")
    assert done.returncode == 0, done.stderr
    run = RunFolder(only_run(tmp_path))
    assert run.read_results()["images"] == 3
    assert not run.best_checkpoint.exists()
