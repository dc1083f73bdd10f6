"""What a training and an evaluation print, with a terminal and without, against the logged metrics."""

import csv
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import only_run, refinenet_process
from helpers.fake_data import make_camvid
from helpers.tiny_study import CROP_SIZE, LOADER, NETWORK, write_yaml

STEPS = 6
EPOCHS = 3
COLUMNS = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data of 4 training images, and a configuration of 6 steps: 3 epochs, each with a validation."""
    path = tmp_path_factory.mktemp("progress")
    data = {"root": str(make_camvid(path / "camvid", train=4, val=3)), "crop_size": CROP_SIZE, **LOADER}
    config = {
        "model": {"network": NETWORK},
        "data": {"class_path": "CamVidDataModule", "init_args": data},
        "trainer": {"max_epochs": -1, "max_steps": STEPS, "accelerator": "cpu", "log_every_n_steps": 2},
    }
    write_yaml(path / "tiny.yaml", config)
    return path


@pytest.fixture(scope="module")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    """A training whose output is piped."""
    return refinenet_process(folder, "fit", "--config", "tiny.yaml", "--runs", "piped")


def metrics(run: Path, name: str) -> dict[int, float]:
    """Return the logged values of a metric by step, the first step being 0."""
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}


def test_lines_of_a_training(folder, done):
    assert done.returncode == 0, done.stderr
    losses, rates = (metrics(only_run(folder / "piped"), name) for name in ("train/loss", "lr"))
    lines = [line for line in done.stdout.splitlines() if line.startswith("epoch ")]
    assert len(lines) == STEPS / 2
    for number, line in enumerate(lines, start=1):
        step = 2 * number
        start = f"epoch {number} of {EPOCHS}, step {step} of {STEPS}, "
        values = f"loss {losses[step - 1]:.3g}, lr {rates[step - 1]:.2e}, "
        assert re.fullmatch(rf"{re.escape(start + values)}[\d.e+-]+ s/step, \d+ s left", line), line
    assert lines[-1].endswith(" 0 s left")


def test_lines_of_validations(folder, done):
    values = [100 * value for value in metrics(only_run(folder / "piped"), "val/miou").values()][:EPOCHS]
    lines = [line for line in done.stdout.splitlines() if line.startswith("validation ")]
    assert len(lines) == len(values) == EPOCHS
    for number, line in enumerate(lines):
        best = max(values[:number], default=None)
        words = "" if best is None else ", the best so far" if values[number] > best else f", best so far {best:.2f} %"
        assert line == f"validation at step {2 * number + 2}: mean IoU {values[number]:.2f} %{words}"


def test_start_is_quiet(done):
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert re.fullmatch(
        r"training LightWeightRefineNet \(\d+\.\d M parameters\) on 1 device \(cpu\), 32-true", lines[-100:][0]
    )
    assert lines[1].startswith("run folder: piped/tiny/")
    assert lines[2].startswith("epoch 1 of 3")
    assert lines[-1] == lines[1]


def test_evaluation_has_one_table(folder, done):
    evaluated = refinenet_process(folder, "validate", "--ckpt_path", only_run(folder / "piped"), "--runs", "evaluated")
    assert (evaluated.returncode, evaluated.stderr) == (0, "")
    assert len(re.findall(r"│ mean IoU +│", evaluated.stdout)) == 1
    assert "val/miou" not in evaluated.stdout
    table = done.stdout[done.stdout.index("val: 3 images") : done.stdout.rindex("run folder")]
    assert table in evaluated.stdout


def test_bar_of_one_line_in_a_terminal(folder):
    """Standard error is a terminal of 80 columns; standard output is a pipe, and gets the lines that stay."""
    controller, terminal = pty.openpty()
    environment = os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm"}
    command = [sys.executable, "-m", "refinenet_pl", "fit", "--config", "tiny.yaml", "--runs", "terminal"]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=terminal, text=True)
    os.close(terminal)
    drawn = read_all(controller)
    stdout = process.communicate()[0]
    assert process.returncode == 0, drawn
    shown = [line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)) if line]
    assert shown
    assert max(map(len, shown)) <= COLUMNS
    assert any(re.match(r"epoch \d/3 .* \d/6  loss [\d.e-]+  lr \d\.\d\de-\d\d ", line) for line in shown)
    assert any(line.startswith("validation ") and line.rstrip().endswith("3/3") for line in shown)
    assert drawn.count("\n") <= 3, "the bar is drawn again in its line"
    assert [line.split(":")[0] for line in stdout.splitlines() if line.startswith("validation ")] == [
        f"validation at step {step}" for step in (2, 4, 6)
    ]
    assert "epoch 1" not in stdout


def read_all(controller: int) -> str:
    """Read a terminal until the process behind it ends."""
    parts = []
    try:
        while part := os.read(controller, 65536):
            parts.append(part)
    except OSError:  # Linux reports the end so
        pass
    os.close(controller)
    return b"".join(parts).decode()


def test_progress_can_be_off(folder):
    quiet = refinenet_process(
        folder, "fit", "--config", "tiny.yaml", "--runs", "off", "--trainer.enable_progress_bar=false"
    )
    assert quiet.returncode == 0, quiet.stderr
    assert "epoch" not in quiet.stdout
    assert "validation at" not in quiet.stdout
