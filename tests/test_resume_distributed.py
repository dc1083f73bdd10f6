"""Two processes, one of which is stopped within an epoch: the resumed training ends as an uninterrupted one."""

import signal
import sys
from pathlib import Path

import pytest
from helpers.commands import fit_options, only_run, refinenet_process
from helpers.fake_data import make_camvid
from helpers.soak import TRAINING, equal, outcome

from refinenet_pl.runs import RunFolder

STOP_ONCE = """
import os
from pathlib import Path

from pytorch_lightning import Callback


class StopOnce(Callback):
    def __init__(self, signum: int):
        self.signum = signum

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 4 and trainer.global_rank == 1 and not Path("stopped").exists():
            Path("stopped").touch()
            os.kill(os.getpid(), self.signum)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three batches of two images per epoch and process."""
    return make_camvid(tmp_path_factory.mktemp("data") / "camvid", train=12, val=3)


def fit(root: Path, folder: Path, signum: int) -> tuple[RunFolder, int, str]:
    (folder / "stop_once.py").write_text(STOP_ONCE)
    options = [*fit_options(root, folder / "runs"), *TRAINING, "--trainer.devices=2", "--trainer.strategy=ddp"]
    stop = ["--trainer.callbacks+=stop_once.StopOnce", f"--trainer.callbacks.signum={signum}"]
    done = refinenet_process(folder, "fit", *options, *stop)
    return RunFolder(only_run(folder / "runs")), done.returncode, done.stderr


@pytest.fixture(scope="module")
def expected(root, tmp_path_factory):
    """The end of an uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "stopped").touch()
    run, status, errors = fit(root, folder, signal.SIGTERM)
    assert status == 0, errors
    return outcome(run)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="compares the status of a killed process")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_goes_on_after_a_signal_to_one_process(signum, root, expected, tmp_path):
    run, status, errors = fit(root, tmp_path, signum)
    assert not run.finished
    assert "Traceback" not in errors
    if signum == signal.SIGTERM:
        assert status == 143, errors
        assert errors.count("refinenet: stopped by SIGTERM at step") == 1
    else:
        assert status in (1, -signal.SIGKILL)  # Lightning may find the process missing before the other one does
    done = refinenet_process(tmp_path, "fit", "--ckpt_path", run.last_checkpoint, "--trust", "stop_once.StopOnce")
    assert done.returncode == 0, done.stderr
    assert len((run.read_history() or {})["parts"]) == 2
    found = outcome(RunFolder(only_run(tmp_path / "runs")))
    assert [key for key in expected if not equal(expected[key], found[key])] == []
