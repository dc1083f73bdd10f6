"""Studies as jobs: submitit's local jobs, and jobs of a fake SLURM."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import only_run, refinenet_process
from helpers.fake_slurm import descendants, install_fake_slurm
from helpers.tiny_study import write_study

from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies import slurm
from refinenet_pl.studies.commands import CellGroup, cell_groups
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.slurm import SlurmQueue, slurm_parameters

LOCAL = {"cluster": "local", "timeout_min": 5}
TEST = {"one": {}, "flip": {"model.inference": {"flip": True}}}


@pytest.fixture(autouse=True)
def _poll_often(monkeypatch):
    """Poll often, because jobs of a second end soon."""
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.2)


def make_groups(folder: Path, overrides: dict[str, Any] | None = None, **study: Any) -> list[CellGroup]:
    """Return the cell groups of a study of a tiny network on fake CamVid."""
    path = write_study(folder, overrides={"trainer.max_epochs": 1, **(overrides or {})}, **study)
    return cell_groups(load_study(path), folder / "runs", {})


def finished(group: CellGroup) -> list[bool]:
    return [group.folder(cell).finished is not None for cell in group.cells]


def submitted(group: CellGroup) -> list[str]:
    """Return all jobs that were ever submitted for a group."""
    return sorted(path.name for path in group.folder(group.cells[0]).job_files.glob("*_submitted.pkl"))


def ignore_progress(progress: object) -> None:
    """Do nothing."""


def test_failed_job_is_submitted_again(tmp_path):
    networks = {"plain": {}, "broken": {"model.network.init_args.no_such_argument": 1}}
    plain, broken = make_groups(tmp_path, factors={"network": networks})
    states = []
    progress = SlurmQueue(LOCAL).run([plain, broken], lambda progress: states.append(dict(progress.running)))
    assert finished(plain) == [True]
    assert finished(broken) == [False]
    assert list(progress.failed) == [broken.cells[0].name]
    assert "no_such_argument" in progress.failed[broken.cells[0].name]
    assert {plain.cells[0].name, broken.cells[0].name} in [set(running) for running in states]
    assert not progress.running

    first, second = submitted(plain), submitted(broken)
    assert (len(first), len(second)) == (1, 1)
    SlurmQueue(LOCAL).run([plain, broken], ignore_progress)
    assert submitted(plain) == first
    assert len(submitted(broken)) == 2


def test_interrupted_job_resumes(tmp_path):
    (group,) = make_groups(tmp_path, {"trainer.max_epochs": 20}, factors={"test": {"one": {}}})
    folder = group.folder(group.cells[0])
    interrupted: list[int] = []

    def interrupt(progress: object) -> None:
        if folder.resumable and not interrupted:
            # SLURM signals every process of a job, in any order. Here the training comes first, well before submitit.
            controller = int(json.loads(folder.job.read_text())["id"])
            interrupted.extend(descendants(controller))
            training = interrupted[-1]
            os.kill(training, signal.SIGUSR2)
            time.sleep(0.2)
            assert "\nState:\tZ" not in Path(f"/proc/{training}/status").read_text()
            os.kill(training, signal.SIGSTOP)  # otherwise it could finish before submitit's turn
            for process in reversed(interrupted[:-1]):
                os.kill(process, signal.SIGUSR2)
                time.sleep(1)

    progress = SlurmQueue(LOCAL).run([group], interrupt)
    assert len(interrupted) >= 2
    assert not progress.failed
    (run,) = folder.runs
    assert folder.finished == run
    assert len((run.read_history() or {})["parts"]) == 2
    assert len(submitted(group)) == 1


def test_job_that_is_killed_before_its_first_checkpoint_starts_anew(tmp_path, monkeypatch):
    install_fake_slurm(monkeypatch, tmp_path, runs=True)
    (group,) = make_groups(tmp_path, factors={"test": {"one": {}}})
    folder = group.folder(group.cells[0])
    left: list[RunFolder] = []

    def kill(progress: object) -> None:
        if not left and any(run.history.is_file() for run in folder.runs):
            left.extend(folder.runs)
            subprocess.run(["scontrol", "requeue", "1"], check=True)  # as after the failure of a machine
            assert folder.resumable is None

    progress = SlurmQueue({"timeout_min": 5}).run([group], kill)
    assert not progress.failed
    assert len(left) == 1
    first, second = folder.runs
    assert first == left[0]
    assert not first.finished
    assert second.finished
    assert torch.load(second.last_checkpoint)["global_step"] == 2
    parts = [part for run in (first, second) for part in (run.read_history() or {})["parts"]]
    assert [(part["job"], part["step"]) for part in parts] == [("slurm-1", 0), ("slurm-1", 0)]


def test_batch_file_has_a_task_per_gpu(tmp_path, monkeypatch):
    spool = install_fake_slurm(monkeypatch, tmp_path, runs=False)
    (group,) = make_groups(tmp_path, {"trainer.num_nodes": 2, "trainer.devices": 8}, factors={"test": TEST})
    words = ["timeout_min=1440", "slurm_partition=gpu", "slurm_qos=long", "cpus_per_task=6"]
    with pytest.raises(KeyboardInterrupt):
        SlurmQueue(slurm_parameters(words)).run([group], interrupt_from_keyboard)
    batch = (spool / "1.sh").read_text()
    options = dict(re.findall(r"^#SBATCH --([^=\n]+)=(.*)$", batch, re.MULTILINE))
    expected = {
        "nodes": "2", "ntasks-per-node": "8", "gpus-per-node": "8", "cpus-per-task": "6", "partition": "gpu",
        "qos": "long", "time": "1440", "job-name": "tiny-test-one_seed-0", "signal": "USR2@90",
    }  # fmt: skip
    assert options.items() >= expected.items()
    assert "--kill-on-bad-exit" in batch


def interrupt_from_keyboard(progress: object) -> None:
    raise KeyboardInterrupt


def test_queued_job_is_followed(tmp_path, monkeypatch, capsys):
    spool = install_fake_slurm(monkeypatch, tmp_path, runs=False)
    groups = make_groups(tmp_path, factors={"epochs": {"one": {}, "two": {"trainer.max_epochs": 2}}})
    changes = []

    def interrupt_when_both_are_submitted(progress: object) -> None:
        changes.append(progress)
        if len(changes) == 2:
            raise KeyboardInterrupt

    for _ in range(2):
        changes.clear()
        with pytest.raises(KeyboardInterrupt):
            SlurmQueue({"timeout_min": 5}).run(groups, interrupt_when_both_are_submitted)
        assert "scancel 1 2" in capsys.readouterr().out
        assert sorted(path.name for path in spool.iterdir()) == ["1.sh", "2.sh"]


def test_refused_job_is_reported(tmp_path, monkeypatch):
    install_fake_slurm(monkeypatch, tmp_path, runs=False)
    (group,) = make_groups(tmp_path, factors={"test": TEST})
    progress = SlurmQueue({"timeout_min": 5, "slurm_partition": "refused"}).run([group], ignore_progress)
    assert "invalid partition" in progress.failed[group.cells[0].name]


def test_two_tasks_match_one_process(tmp_path, monkeypatch):
    spool = install_fake_slurm(monkeypatch, tmp_path, runs=True)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    (group,) = make_groups(tmp_path, {"trainer.devices": 2}, factors={"test": TEST})
    progress = SlurmQueue({"timeout_min": 5}).run([group], ignore_progress)
    assert not progress.failed, (spool / "1.sh").read_text()
    trained, evaluated = map(group.folder, group.cells)
    for folder in (trained, evaluated):
        # No task has created another run folder.
        folders = [path for path in folder.path.iterdir() if path.is_dir() and path != folder.job_files]
        assert folders == [run.path for run in folder.runs]
        assert len(folder.runs) == 1
    done = refinenet_process(
        tmp_path, "validate", "--config", evaluated.experiment, f"--runs={tmp_path / 'alone'}", "--trainer.devices=1",
        "--ckpt_path", trained.runs[0].best_checkpoint,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = evaluated.runs[0].read_results()
    expected = RunFolder(only_run(tmp_path / "alone")).read_results()
    assert found["images"] == 3
    for key in ("miou", "confusion_matrix", "boundary_iou"):
        assert found[key] == expected[key]
    assert "MEMBER: 2/2" in (trained.job_files / "1_1_log.err").read_text()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cluster": "local"}, "timeout_min=1440"),
        ({"cluster": "moon", "timeout_min": 5}, "expected one of slurm, local"),
        ({"timeout_min": 5}, "found no sbatch and srun"),
    ],
)
def test_impossible_queue_is_refused(parameters, message, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=message):
        SlurmQueue(parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"slurm_partitoin": "gpu"}, "partitoin.*Valid arguments: .*partition"),
        ({"gpu": 1}, "prefixed.*slurm_partition=gpu"),
        ({"cpus_per_task": "many"}, "cpus_per_task"),
    ],
)
def test_wrong_parameters_are_refused(parameters, message, tmp_path):
    groups = make_groups(tmp_path, factors={"test": TEST})
    with pytest.raises(UserError, match=re.compile(message, re.DOTALL)):
        SlurmQueue(LOCAL | parameters).run(groups, ignore_progress)


def test_parameters_are_json_or_text():
    words = [
        "timeout_min=1440",
        "slurm_time=24:00:00",
        "slurm_comment=a=b",
        "gpus_per_node=null",
        'slurm_srun_args=["-v"]',
    ]
    assert slurm_parameters(words) == {
        "timeout_min": 1440, "slurm_time": "24:00:00", "slurm_comment": "a=b", "gpus_per_node": None,
        "slurm_srun_args": ["-v"],
    }  # fmt: skip
    with pytest.raises(UserError, match="NAME=VALUE"):
        slurm_parameters(["gpu"])
