"""Studies as jobs: on this machine through submitit's local jobs, and under commands that stand for SLURM's."""

import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest
import yaml
from helpers.commands import only_run, refinenet_process
from helpers.fake_data import make_camvid
from helpers.fake_slurm import install_fake_slurm

from refinenet_pl.errors import UserError
from refinenet_pl.studies import slurm
from refinenet_pl.studies.commands import CellGroup, cell_groups
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.slurm import SlurmQueue, slurm_parameters

LOCAL = {"cluster": "local", "timeout_min": 5}
SHOWN = {"whole": {}, "mirrored": {"model.inference": {"flip": True}}}


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """Look often, since cell_groups of a second are over soon."""
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.2)


def make_study(folder: Path, overrides: dict | None = None, **study: object) -> list[CellGroup]:
    """The cell_groups of a study of a tiny network on a small fake CamVid."""
    make_camvid(folder / "camvid")
    base = {
        "trainer": {"accelerator": "cpu", "max_epochs": 1, "log_every_n_steps": 1},
        "model": {
            "network": {
                "class_path": "LightWeightRefineNet",
                "init_args": {"encoder_name": "tu-test_resnet.r160_in1k", "encoder_weights": None},
            }
        },
        "data": {
            "class_path": "CamVidDataModule",
            "init_args": {
                "root": str(folder / "camvid"), "batch_size": 2, "num_workers": 0, "crop_size": [32, 48],
            },
        },
    }  # fmt: skip
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    content = {"base": "base.yaml", "image_size": [48, 64], "overrides": overrides or {}, **study}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return cell_groups(load_study(folder / "tiny.yaml"), folder / "runs", [])


def finished(training: CellGroup) -> list[bool]:
    return [training.folder(cell).finished is not None for cell in training.cells]


def submitted(training: CellGroup) -> list[str]:
    """The jobs that a training was ever given."""
    return sorted(path.name for path in (training.folder(training.cells[0]).path / "job").glob("*_submitted.pkl"))


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def no_change(progress: object) -> None:
    """For those who do not watch."""


def test_local_jobs_finish_what_can_be_finished_and_a_second_run_submits_only_what_failed(tmp_path):
    networks = {"plain": {}, "broken": {"model.network.init_args.no_such_argument": 1}}
    plain, broken = make_study(tmp_path, factors={"network": networks})
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
    SlurmQueue(LOCAL).run([plain, broken], no_change)
    assert submitted(plain) == first
    assert len(submitted(broken)) == 2


def test_a_job_that_is_interrupted_is_queued_again_and_goes_on_from_its_last_epoch(tmp_path):
    (training,) = make_study(tmp_path, {"trainer.max_epochs": 8}, factors={"shown": {"whole": {}}})
    folder = training.folder(training.cells[0])
    interrupted: list[int] = []

    def interrupt(progress: object) -> None:
        if folder.unfinished and not interrupted:
            # SLURM sends it to every process of a job, in no promised order: here to the training well before submitit.
            controller = int(json.loads((folder.path / "job.json").read_text())["id"])
            interrupted.extend(descendants(controller))
            for process in reversed(interrupted):
                os.kill(process, signal.SIGUSR2)
                time.sleep(1)

    progress = SlurmQueue(LOCAL).run([training], interrupt)
    assert len(interrupted) >= 2
    assert not progress.failed
    (run,) = folder.runs
    assert folder.finished == run
    assert (run / "metrics.part1.csv").is_file()
    assert len(submitted(training)) == 1


def descendants(process: int) -> list[int]:
    """All processes below one, as Linux knows them."""
    children = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return children + [below for child in children for below in descendants(child)]


def test_a_batch_file_asks_for_one_task_a_gpu_and_for_what_the_user_says(tmp_path, monkeypatch):
    spool = install_fake_slurm(monkeypatch, tmp_path, runs=False)
    (training,) = make_study(tmp_path, {"trainer.num_nodes": 2, "trainer.devices": 8}, factors={"shown": SHOWN})
    words = ["timeout_min=1440", "slurm_partition=gpu", "slurm_qos=long", "cpus_per_task=6"]
    with pytest.raises(KeyboardInterrupt):
        SlurmQueue(slurm_parameters(words)).run([training], interrupt_from_keyboard)
    batch = (spool / "1.sh").read_text()
    asked = dict(re.findall(r"^#SBATCH --([^=\n]+)=(.*)$", batch, re.MULTILINE))
    expected = {
        "nodes": "2", "ntasks-per-node": "8", "gpus-per-node": "8", "cpus-per-task": "6", "partition": "gpu",
        "qos": "long", "time": "1440", "job-name": "tiny-shown-whole_seed-0", "signal": "USR2@90",
    }  # fmt: skip
    assert asked.items() >= expected.items()
    assert "--kill-on-bad-exit" in batch


def interrupt_from_keyboard(progress: object) -> None:
    raise KeyboardInterrupt


def test_a_queued_job_is_followed_and_not_submitted_again(tmp_path, monkeypatch, capsys):
    spool = install_fake_slurm(monkeypatch, tmp_path, runs=False)
    study = make_study(tmp_path, factors={"epochs": {"one": {}, "two": {"trainer.max_epochs": 2}}})
    changes = []

    def interrupt_when_both_are_submitted(progress: object) -> None:
        changes.append(progress)
        if len(changes) == 2:
            raise KeyboardInterrupt

    for _ in range(2):
        changes.clear()
        with pytest.raises(KeyboardInterrupt):
            SlurmQueue({"timeout_min": 5}).run(study, interrupt_when_both_are_submitted)
        assert "scancel 1 2" in capsys.readouterr().out
        assert sorted(path.name for path in spool.iterdir()) == ["1.sh", "2.sh"]


def test_a_refusal_by_sbatch_is_told(tmp_path, monkeypatch):
    install_fake_slurm(monkeypatch, tmp_path, runs=False)
    (training,) = make_study(tmp_path, factors={"shown": SHOWN})
    progress = SlurmQueue({"timeout_min": 5, "slurm_partition": "refused"}).run([training], no_change)
    assert "invalid partition" in progress.failed[training.cells[0].name]


def test_two_tasks_of_a_job_train_and_evaluate_to_the_figures_of_one_process(tmp_path, monkeypatch):
    spool = install_fake_slurm(monkeypatch, tmp_path, runs=True)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    (training,) = make_study(tmp_path, {"trainer.devices": 2}, factors={"shown": SHOWN})
    progress = SlurmQueue({"timeout_min": 5}).run([training], no_change)
    assert not progress.failed, (spool / "1.sh").read_text()
    trained, evaluated = map(training.folder, training.cells)
    for folder in (trained, evaluated):
        # The run's own folder alone: no task made another.
        assert [path for path in folder.path.iterdir() if path.is_dir() and path.name != "job"] == folder.runs
        assert len(folder.runs) == 1
    done = refinenet_process(
        tmp_path, "validate", "--config", evaluated.experiment, f"--runs={tmp_path / 'alone'}", "--trainer.devices=1",
        "--ckpt_path", trained.runs[0] / "checkpoints" / "best.ckpt",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, expected = results(evaluated.runs[0]), results(only_run(tmp_path / "alone"))
    assert found["images"] == 3
    for key in ("miou", "confusion_matrix", "boundary_iou"):
        assert found[key] == expected[key]
    assert "MEMBER: 2/2" in (training.folder(training.cells[0]).path / "job" / "1_1_log.err").read_text()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cluster": "local"}, "timeout_min=1440"),
        ({"cluster": "moon", "timeout_min": 5}, "none of slurm, local"),
        ({"timeout_min": 5}, "no sbatch"),
    ],
)
def test_what_cannot_be_a_queue_is_refused(parameters, message, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=message):
        SlurmQueue(parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"slurm_partitoin": "gpu"}, "partitoin.*Valid arguments: .*partition"),
        ({"gpu": 1}, "slurm_partition=gpu.*prefixed"),
        ({"cpus_per_task": "many"}, "cpus_per_task"),
    ],
)
def test_wrong_parameters_are_refused_with_those_that_submitit_takes(parameters, message, tmp_path):
    study = make_study(tmp_path, factors={"shown": SHOWN})
    with pytest.raises(UserError, match=re.compile(message, re.DOTALL)):
        SlurmQueue(LOCAL | parameters).run(study, no_change)


def test_parameters_are_numbers_where_they_are_and_text_otherwise():
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
