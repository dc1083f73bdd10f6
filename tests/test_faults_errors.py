"""Errors of libraries and of the system: mistakes and outside faults are told, our own faults keep their traceback."""

import errno
import operator
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import fit_options, refinenet
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from refinenet_pl.cli.errors import explain
from refinenet_pl.errors import Fault, UserError
from refinenet_pl.training.task import SegmentationTask


def raised(call) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return caught.value


def fail(error: Exception) -> None:
    raise error


MISTAKES = [
    ("Lightning's own", lambda: fail(MisconfigurationException("no such device")), "no such device"),
    ("trainer", lambda: Trainer(devices=[0, 1], accelerator="cpu", logger=False), "Trainer: `devices`"),
    ("optimizer", lambda: torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=-1), "SGD: Invalid learning rate"),
    ("loader", lambda: DataLoader(TensorDataset(torch.zeros(1)), num_workers=-1), "DataLoader: num_workers"),
    ("missing folder", lambda: Path("/proc/nope/x").write_text("x"), "/proc/nope/x: No such file"),
    ("no folder", lambda: Path("/proc/version/x").write_text("x"), "/proc/version/x: Not a directory"),
    ("full disk", lambda: Path("/dev/full").write_text("x"), "No space left on device; free some space"),
    ("files", lambda: fail(OSError(errno.EMFILE, "Too many open files")), "ulimit -n"),
    ("torch's writer", lambda: torch.save(torch.zeros(99999), "/dev/full"), "is the disk full?"),
    ("weights", lambda: nn.Linear(1, 1).load_state_dict({}), "does not fit the configured network"),
    ("memory", lambda: torch.empty(2**60), "lower data.batch_size"),
    ("batch norm", lambda: nn.BatchNorm1d(2)(torch.zeros(1, 2)), "raise data.batch_size"),
    ("compiler", lambda: fail(RuntimeError("Failed to find C compiler. Please set CC")), "--model.compile false"),
]
FAULTS = [
    ("worker", lambda: fail(RuntimeError("DataLoader worker (pid 3) is killed by signal: Killed.")), "/dev/shm"),
    ("process", lambda: fail(RuntimeError("Read error [::1]: Connection reset by peer")), "another process"),
]
OURS = [
    ("key", lambda: dict[str, int]()["name"]),
    ("conversion", lambda: int("x")),
    ("type", lambda: operator.add(None, 1)),
    ("shape", lambda: torch.zeros(2) + torch.zeros(3)),
    ("raised here", lambda: fail(ValueError("impossible"))),
    ("library", lambda: nn.Conv2d(1, 1, 1)(torch.zeros(1, 2, 3, 3))),
    ("system", lambda: fail(OSError("no number and no file"))),
]


@pytest.mark.parametrize(("call", "words"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_mistakes_are_told(call, words):
    told = explain(raised(call))
    assert isinstance(told, UserError)
    assert words in str(told)
    assert told.status == 2


@pytest.mark.parametrize(("call", "words"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_outside_faults_have_status_1(call, words):
    told = explain(raised(call))
    assert isinstance(told, Fault)
    assert words in str(told)
    assert told.status == 1


@pytest.mark.parametrize("call", [row[1] for row in OURS], ids=[row[0] for row in OURS])
def test_our_faults_are_not_mistakes(call):
    assert explain(raised(call)) is None


def test_our_faults_keep_their_traceback(fake_camvid, tmp_path, monkeypatch):
    monkeypatch.setattr(SegmentationTask, "training_step", lambda self, batch: dict[str, int]()["no such key"])
    options = [*fit_options(fake_camvid, tmp_path / "runs"), "--trainer.fast_dev_run=true"]
    with pytest.raises(KeyError, match="no such key"):
        refinenet(monkeypatch, "fit", *options)


def test_code_of_the_users_keeps_its_traceback():
    """While classes are built, a library's errors are mistakes; those of the user's own code are not."""

    def configure_optimizers():
        int("x")

    assert explain(raised(configure_optimizers)) is None


def run_script(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command by a script in another folder, as its entry point does."""
    script = folder / "bin" / "refinenet"
    script.parent.mkdir(exist_ok=True)
    script.write_text("import sys\nfrom refinenet_pl.cli.main import main\nsys.exit(main())\n")
    variables = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])} | environment
    command = [sys.executable, str(script), *args]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def test_finds_classes_in_the_current_folder(tmp_path):
    (tmp_path / "mynet.py").write_text(
        "from torch import nn\n\n\nclass Tiny(nn.Conv2d):\n    def __init__(self):\n        super().__init__(3, 2, 1)\n"
    )
    done = run_script(
        tmp_path, "benchmark", "infer", "--network=mynet.Tiny", "--size=[8,8]", "--repeats=1", "--device=cpu"
    )
    assert done.returncode == 0, done.stderr


def test_installed_packages_come_first(tmp_path):
    (tmp_path / "yaml.py").write_text("raise SystemExit('the file of the current folder was imported')\n")
    assert run_script(tmp_path, "--version").returncode == 0


def test_output_in_any_encoding(trained_run, tmp_path):
    done = run_script(tmp_path, "compare", str(trained_run), str(trained_run), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "?" in done.stdout


def test_umlauts_in_a_config_need_utf8(tmp_path):
    (tmp_path / "e.yaml").write_text("# größe\ndata: null\n", encoding="utf-8")
    locale = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = run_script(tmp_path, "fit", "--config", "e.yaml", **locale)
    assert done.returncode == 2
    assert "PYTHONUTF8=1" in done.stderr
    assert "Traceback" not in done.stderr
