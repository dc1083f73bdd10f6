"""What `fit --ckpt_path` does: continue a run in its folder, continue it in a new one, or refuse in words."""

import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from helpers.commands import fit_options, only_run, refinenet

from refinenet_pl.cli.continuation import lock_run
from refinenet_pl.locks import try_lock
from refinenet_pl.runs import RunFolder

STOPPED = ["--trainer.max_epochs=2", "--trainer.max_time=00:00:00:00", "--trainer.min_epochs=1"]
"""Ends a training after the first of two epochs, of two steps each."""


@pytest.fixture(scope="session")
def half_run(fake_camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a training that stopped after its first epoch, without results. Tests copy it."""
    runs = tmp_path_factory.mktemp("half")
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, "fit", *fit_options(fake_camvid, runs), *STOPPED, "--experiment=half") == 0
    run = RunFolder(only_run(runs))
    for file in (run.results, run.per_image):
        file.unlink()
    return run.path


@pytest.fixture
def half(half_run: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(half_run, tmp_path / "half" / half_run.name)))


def digest(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rates(run: RunFolder) -> list[float]:
    with run.metrics.open() as file:
        return [float(row["lr"]) for row in csv.DictReader(file) if row["lr"]]


def resume(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, *options: str | Path) -> int:
    return refinenet(monkeypatch, "fit", "--ckpt_path", checkpoint, "--trainer.max_time=null", *options)


def poly(step: int, steps: int) -> float:
    return float((1 - step / steps) ** 0.9)


def test_copied_run_continues_in_place(half, monkeypatch, capsys):
    saved = half.config.read_bytes()
    best = torch.load(half.best_checkpoint)["callbacks"]
    score = next(state["best_model_score"] for state in best.values() if state.get("best_model_score") is not None)
    assert resume(monkeypatch, half.last_checkpoint) == 0
    assert "continuing from step 2" in capsys.readouterr().out
    assert half.finished
    assert half.config.read_bytes() == saved
    history = half.read_history()
    assert [part["step"] for part in history["parts"]] == [0, 2]
    assert history["parts"][1]["changes"]["trainer.max_time"][1] is None
    assert history["parts"][1]["command"].startswith("refinenet fit --ckpt_path")
    base = rates(half)[0]
    assert rates(half) == pytest.approx([base * poly(step, 4) for step in range(4)])
    states = torch.load(half.last_checkpoint)["callbacks"].values()
    paths = [state["best_model_path"] for state in states if state.get("best_model_path")]
    assert all(Path(path).parent == half.checkpoints.resolve() for path in paths)
    assert (
        max(float(state["best_model_score"]) for state in states if state.get("best_model_score") is not None) >= score
    )


def test_finished_run_is_not_changed(trained_run, monkeypatch, capsys):
    run = RunFolder(trained_run)
    before = digest(run.path)
    assert refinenet(monkeypatch, "fit", "--ckpt_path", run.last_checkpoint) == 0
    assert "nothing is left to do" in capsys.readouterr().out
    assert refinenet(monkeypatch, "fit", "--ckpt_path", run.path, "--trainer.max_epochs=3") == 2
    assert "--experiment" in capsys.readouterr().err
    assert digest(run.path) == before


def test_longer_training_goes_into_a_new_folder(trained_run, tmp_path, monkeypatch, capsys):
    run = RunFolder(trained_run)
    before = digest(run.path)
    options = ["--trainer.max_epochs=4", "--data.batch_size=4", "--experiment=longer", f"--runs={tmp_path}"]
    assert refinenet(monkeypatch, "fit", "--ckpt_path", run.path, *options) == 0
    assert digest(run.path) == before
    # Two epochs of two steps, and two of one step, because the batches are twice as large.
    longer = RunFolder(only_run(tmp_path))
    assert rates(longer) == pytest.approx([0.01 * poly(step, 6) for step in (4, 5)])
    assert "max_epochs: 2 -> 4" in capsys.readouterr().out
    history, earlier = longer.read_history(), run.read_history()
    assert history is not None
    assert earlier is not None
    assert history["id"] != earlier["id"]
    assert (history["parts"][0]["step"], history["parts"][0]["checkpoint"]) == (4, str(run.last_checkpoint))


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        (["--model.optimizer.lr=0.5"], 0.5 * poly(2, 4)),
        (["--model.schedule=Constant"], None),
        (["--trainer.max_epochs=3"], None),
    ],
)
def test_learning_rate_is_applied(half, options, rate, monkeypatch):
    base = rates(half)[0]
    expected = {"--model.schedule=Constant": base, "--trainer.max_epochs=3": base * poly(2, 6)}.get(options[0], rate)
    assert resume(monkeypatch, half.last_checkpoint, *options) == 0
    assert rates(half)[2] == pytest.approx(expected)


@pytest.mark.parametrize(
    "option",
    [
        "--model.network.pooling=null",
        "--model.batch_norm=frozen",
        "--model.decay_norms_and_biases=false",
        "--model.optimizer=AdamW",
        "--model.loss=OHEM",
        "--data.crop_size=64",
        "--seed_everything=5",
        "--trainer.callbacks=EMA",
    ],
)
def test_other_trainings_are_refused(half, option, monkeypatch, capsys):
    before = digest(half.path)
    assert resume(monkeypatch, half.last_checkpoint, option) == 2
    told = capsys.readouterr().err
    assert option.partition("=")[0].removeprefix("--").split(".")[-1] in told
    assert "--model.weights" in told
    assert "refinenet validate" in told
    assert digest(half.path) == before


def test_running_run_is_locked(half, monkeypatch, capsys):
    before = digest(half.path)
    with half.lock.open("a") as file:
        assert try_lock(file)
        assert resume(monkeypatch, half.last_checkpoint) == 2
    assert "another process" in capsys.readouterr().err
    assert digest(half.path) == before


def test_lock_ends_with_its_process(tmp_path):
    """Workers of a loader live on for seconds after the training process is killed."""
    with ExitStack() as resources:
        lock_run(RunFolder(tmp_path), resources)
        worker = get_context("fork").Process(target=time.sleep, args=(60,))
        worker.start()
        with (tmp_path / "lock").open("a") as file:
            assert not try_lock(file)
    try:
        deadline = time.monotonic() + 30
        with (tmp_path / "lock").open("a") as file:
            while not try_lock(file):  # the worker closes it when it starts
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert worker.is_alive()
    finally:
        worker.kill()
        worker.join()


def test_missing_data_changes_nothing(half, tmp_path, monkeypatch):
    before = digest(half.path)
    assert resume(monkeypatch, half.last_checkpoint, f"--data.root={tmp_path}") == 2
    assert digest(half.path) == before


def test_foreign_folder_is_not_written_to(half, tmp_path, monkeypatch):
    foreign = tmp_path / "project"
    (foreign / "weights").mkdir(parents=True)
    (foreign / "config.yaml").write_text("answer: 42\n")
    checkpoint = Path(shutil.copy(half.last_checkpoint, foreign / "weights"))
    before = digest(foreign)
    monkeypatch.chdir(tmp_path)
    assert resume(monkeypatch, checkpoint) == 0
    assert digest(foreign) == before
    run = RunFolder(only_run(tmp_path / "runs"))
    assert run.path.parent.name == "half"
    assert len(rates(run)) == 2


def test_saved_config_starts_a_new_run(half, tmp_path, monkeypatch):
    assert resume(monkeypatch, half.last_checkpoint) == 0
    before = digest(half.path)
    options = ["--config", half.config, f"--runs={tmp_path / 'again'}", "--trainer.max_time=null"]
    assert refinenet(monkeypatch, "fit", *options) == 0
    again = RunFolder(only_run(tmp_path / "again"))
    assert rates(again) == rates(half)
    assert digest(half.path) == before


@pytest.mark.parametrize("name", ["../out", "/absolute", ".", ".."])
def test_experiment_stays_in_its_folder(name, fake_camvid, tmp_path, monkeypatch, capsys):
    runs = tmp_path / "runs"
    assert refinenet(monkeypatch, "fit", *fit_options(fake_camvid, runs), f"--experiment={name}") == 2
    assert "experiment" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_requeued_job_continues_its_run(fake_camvid, tmp_path):
    """A job that is killed before its first checkpoint starts anew. At SIGUSR1, the next start saves the step and asks
    for a third one; the same command then continues the run in its folder.
    """
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path / "asked"}\n')
    scontrol.chmod(0o755)
    # Lightning takes a job of this name for a terminal, and starts the processes itself.
    job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "interactive", "PATH": f"{scontrol.parent}:{os.environ['PATH']}"}
    options = [*fit_options(fake_camvid, tmp_path / "runs"), "--experiment=job", "--trainer.max_epochs=12"]
    command = [sys.executable, "-m", "refinenet_pl", "fit", *options]
    first = subprocess.Popen(command, env={**os.environ, **job})
    while first.poll() is None and not list(tmp_path.glob("runs/*/*/history.json")):
        time.sleep(0.02)
    first.kill()
    first.wait()
    left = RunFolder(only_run(tmp_path / "runs"))
    assert not left.last_checkpoint.exists()
    before = digest(left.path)
    again = {**os.environ, **job, "SLURM_RESTART_COUNT": "1"}
    second = subprocess.Popen(command, env=again, stderr=subprocess.PIPE, text=True)
    while second.poll() is None and not list(tmp_path.glob("runs/*/*/checkpoints/last.ckpt")):
        time.sleep(0.1)
    second.send_signal(signal.SIGUSR1)
    _, told = second.communicate(timeout=120)
    assert second.returncode == 128 + signal.SIGUSR1
    assert "the job 77 is queued again" in told
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    (run,) = [RunFolder(path) for path in tmp_path.glob("runs/*/*") if path != left.path]
    step = torch.load(run.last_checkpoint)["global_step"]
    subprocess.run(command, env=again | {"SLURM_RESTART_COUNT": "2"}, check=True, timeout=300)
    assert len(list(tmp_path.glob("runs/*/*"))) == 2
    assert [part["step"] for part in (run.read_history() or {})["parts"]] == [0, step]
    assert run.finished
    assert rates(run) == pytest.approx([0.001 * poly(number, 24) for number in range(24)])
    assert digest(left.path) == before
    # Once it is finished, another start of the job has nothing to do.
    done = subprocess.run(command, env=again, check=True, timeout=300, capture_output=True, text=True)
    assert "nothing is left to do" in done.stdout
