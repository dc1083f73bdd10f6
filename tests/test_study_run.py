"""Studies are run: every cell in its own process, skipped when finished, resumed when killed, told when failed."""

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml
from helpers.commands import refinenet, refinenet_process
from helpers.tiny_study import POOLING, write_study
from helpers.wandb_reader import read_offline_run

from refinenet_pl.studies.commands import cell_groups
from refinenet_pl.studies.folders import CellFolder, deviations
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.measure import inference_file, read_rows
from refinenet_pl.studies.pool import Pool, Progress, failure_message

ORIGINAL = {"original": POOLING["original"]}
TEST = {"one": {"model.inference.scales": [1.0]}, "mirrored": {"model.inference.flip": True}}


def cell(folder: Path, name: str, study: str = "tiny") -> CellFolder:
    return CellFolder(folder / "runs" / study / name)


def finished(folder: CellFolder) -> Path:
    assert folder.finished is not None, folder.log.read_text()[-3000:]
    return folder.finished


def results(folder: CellFolder) -> dict:
    return json.loads((finished(folder) / "results.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a study has been run: a training that is evaluated in two ways."""
    folder = tmp_path_factory.mktemp("study")
    logger = {"class_path": "WandbLogger", "init_args": {"project": "trial"}}
    path = write_study(folder, factors={"pooling": ORIGINAL, "test": TEST}, overrides={"trainer.logger": logger})
    done = refinenet_process(folder, "study", "run", path)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_cell_has_results_of_its_own_configuration(folder):
    study = load_study(folder / "tiny.yaml")
    assert len(study.cells) == 2
    for each in study.cells:
        assert results(cell(folder, each.name))["config"]["model"]["inference"]["flip"] == (
            each.levels["test"] == "mirrored"
        )


def test_cells_that_differ_in_inference_alone_are_evaluated_and_not_trained(folder):
    trained, evaluated = (cell(folder, f"pooling-original_test-{test}_seed-0") for test in TEST)
    best = finished(trained) / "checkpoints" / "best.ckpt"
    assert best.is_file()
    assert not (finished(evaluated) / "checkpoints").exists()
    assert Path(results(evaluated)["config"]["ckpt_path"]).name == "best.ckpt"
    assert finished(trained).name in results(evaluated)["config"]["ckpt_path"]
    assert results(evaluated)["confusion_matrix"] != results(trained)["confusion_matrix"]


def test_wandb_has_the_study_as_group_and_the_levels_as_configuration(folder):
    logged = read_offline_run(finished(cell(folder, "pooling-original_test-one_seed-0")) / "wandb")
    assert (logged["project"], logged["group"]) == ("trial", "tiny")
    assert logged["config"]["study"] == "tiny"
    assert logged["config"]["levels"] == {"pooling": "original", "test": "one"}
    assert logged["config"]["model"]["network"]["init_args"]["pooling"] == "original"


def test_the_costs_of_inference_are_measured_once_for_each_row(folder):
    rows = read_rows(inference_file(load_study(folder / "tiny.yaml"), folder / "runs"))
    assert [row["row"] for row in rows] == [f"pooling-original_test-{test}" for test in TEST]
    assert [(row["height"], row["width"], row["flip"]) for row in rows] == [("48", "64", "False"), ("48", "64", "True")]
    assert float(rows[1]["gflops"]) == pytest.approx(2 * float(rows[0]["gflops"]))


def test_finished_cells_are_skipped(folder, monkeypatch, capsys):
    before = sorted((folder / "runs").rglob("*"))
    monkeypatch.chdir(folder)
    assert refinenet(monkeypatch, "study", "run", "tiny.yaml") == 0
    assert sorted((folder / "runs").rglob("*")) == before
    assert capsys.readouterr().out.count("finished") == 2


def test_what_a_finished_cell_ran_with_is_told_where_the_study_says_otherwise(folder):
    each = load_study(folder / "tiny.yaml").cells[0]
    assert deviations(each, finished(cell(folder, each.name))) == {}
    changed = write_study(
        folder, "changed", factors={"pooling": ORIGINAL, "test": TEST}, overrides={"trainer.max_epochs": 9}
    )
    each = load_study(changed).cells[0]
    assert deviations(each, finished(cell(folder, each.name))) == {"trainer.max_epochs": (9, 2)}


def test_the_same_cell_gives_the_same_figures_to_the_last_digit(folder, tmp_path):
    path = write_study(tmp_path, factors={"pooling": ORIGINAL})
    again = refinenet_process(tmp_path, "study", "run", path)
    assert again.returncode == 0, again.stdout + again.stderr
    first, second = cell(folder, "pooling-original_test-one_seed-0"), cell(tmp_path, "pooling-original_seed-0")
    for key in ("confusion_matrix", "miou", "boundary_iou", "trimap_iou", "intervals"):
        assert results(first)[key] == results(second)[key]
    weights = [torch.load(finished(each) / "checkpoints/last.ckpt")["state_dict"] for each in (first, second)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_only_the_cells_asked_for_are_run_and_unknown_names_are_refused(tmp_path, monkeypatch, capsys):
    study = load_study(write_study(tmp_path, factors={"pooling": POOLING, "test": TEST}, seeds=[0, 1]))
    chosen = cell_groups(study, tmp_path, [], {"pooling": "none", "test": "mirrored", "seed": "1"})
    names = [each.name for training in chosen for each in training.cells]
    assert names == [
        "pooling-none_test-one_seed-1",
        "pooling-none_test-mirrored_seed-1",
    ]  # the first is what is evaluated
    (row,) = cell_groups(study, tmp_path, [], {"row": "pooling-none_test-one", "seed": "0"})
    assert [each.name for each in row.cells] == ["pooling-none_test-one_seed-0"]
    for wrong, message in {
        "size=3": "no factor size",
        "pooling=some": "no cell of tiny",
        "pooling": "NAME=LEVEL",
    }.items():
        assert refinenet(monkeypatch, "study", "run", study.path, "--only", wrong) == 2
        assert message in capsys.readouterr().err


def test_a_failed_cell_is_told_and_the_others_run(tmp_path):
    factors = {"pooling": {"wrong": {"model.network.init_args.pooling": "sideways"}, **ORIGINAL}}
    path = write_study(tmp_path, factors=factors, overrides={"trainer.max_epochs": 1})
    done = refinenet_process(tmp_path, "study", "run", path, "--only", "seed=0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "cells that failed: 1" in done.stderr
    assert "pooling-wrong_seed-0" in done.stderr
    assert "sideways" in cell(tmp_path, "pooling-wrong_seed-0").log.read_text()
    assert results(cell(tmp_path, "pooling-original_seed-0"))["images"] == 3


def wait_for(condition, seconds: float = 300) -> None:
    until = time.time() + seconds
    while not condition():
        assert time.time() < until, "nothing happened"
        time.sleep(0.1)


def start(folder: Path, path: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "refinenet_pl", "study", "run", str(path), *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_study_goes_on_from_its_last_checkpoint(tmp_path):
    path = write_study(tmp_path, factors={"pooling": ORIGINAL}, overrides={"trainer.max_epochs": 400})
    folder = cell(tmp_path, "pooling-original_seed-0")
    process = start(tmp_path, path)
    wait_for(lambda: folder.unfinished is not None)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    (run,) = folder.runs
    step = torch.load(run / "checkpoints" / "last.ckpt")["global_step"]
    assert 0 < step < 800
    done = refinenet_process(tmp_path, "study", "run", path, f"--trainer.max_epochs={step // 2 + 2}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert folder.runs == [run]
    assert torch.load(run / "checkpoints" / "last.ckpt")["global_step"] == step + 4
    assert (run / "metrics.part1.csv").is_file()


def test_a_cell_that_lacks_its_final_evaluation_alone_gets_it(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    each = cell(tmp_path, "pooling-original_test-one_seed-0")
    expected = results(each)
    (finished(each) / "results.json").unlink()
    done = refinenet_process(tmp_path, "study", "run", tmp_path / "tiny.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(each)["confusion_matrix"] == expected["confusion_matrix"]


def test_an_evaluation_whose_checkpoint_is_gone_fails_alone_and_in_words(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "runs" / "tiny" / "pooling-original_test-mirrored_seed-0")
    shutil.rmtree(finished(cell(tmp_path, "pooling-original_test-one_seed-0")) / "checkpoints")
    done = refinenet_process(tmp_path, "study", "run", tmp_path / "tiny.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "no best.ckpt of a finished run" in done.stderr


def test_a_cell_that_another_process_works_on_is_left_alone(tmp_path):
    path = write_study(tmp_path, factors={"pooling": ORIGINAL}, overrides={"trainer.max_epochs": 400})
    first = start(tmp_path, path)
    folder = cell(tmp_path, "pooling-original_seed-0")
    wait_for(lambda: folder.unfinished is not None)
    first.kill()  # its own process lives on, as nobody was told to stop it
    first.communicate()
    second = refinenet_process(tmp_path, "study", "run", path)
    subprocess.run(["pkill", "-f", str(folder.path.name)], check=False)
    assert second.returncode == 2
    assert "another process is at it" in second.stderr
    assert len(folder.runs) == 1


def test_a_dry_run_lists_cells_overrides_and_a_measured_time_and_writes_nothing(tmp_path):
    path = write_study(tmp_path, factors={"pooling": {"none": POOLING["none"]}}, seeds=[0, 1])
    done = refinenet_process(tmp_path, "study", "run", path, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "pooling-none_seed-0" in done.stdout
    assert "pooling-none_seed-1" in done.stdout
    assert "pooling: None" in done.stdout
    assert "4 steps of" in done.stdout
    assert "in all about" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_the_experiment_that_a_cell_was_started_with_lies_beside_its_runs(folder):
    each = load_study(folder / "tiny.yaml").cells[0]
    assert yaml.safe_load(cell(folder, each.name).experiment.read_text()) == each.config


def test_a_trainings_devices_are_the_cells_unless_options_say_otherwise(tmp_path):
    study = load_study(write_study(tmp_path, overrides={"trainer.devices": 2, "trainer.num_nodes": 3}))
    said = cell_groups(study, tmp_path, [])[0]
    assert (said.devices, said.nodes) == (2, 3)
    for options in (
        ["--trainer.devices=8", "--trainer.num_nodes=1"],
        ["--trainer.devices", "8", "--trainer.num_nodes", "1"],
    ):
        other = cell_groups(study, tmp_path, options)[0]
        assert (other.devices, other.nodes) == (8, 1)


def test_a_cell_that_needs_more_devices_than_there_are_is_refused_in_words(tmp_path, monkeypatch, capsys):
    path = write_study(tmp_path, overrides={"trainer.devices": 2})
    assert refinenet(monkeypatch, "study", "run", path) == 2
    assert "needs 1 x 2 devices, but this machine gives 1" in capsys.readouterr().err


def test_each_process_sees_gpus_of_its_own(tmp_path):
    # No GPU is needed to see which one a process was given, and the processes end at once by a mistake in their cells.
    wrong = {name: {"model.network.init_args.pooling": name} for name in ("upwards", "sideways")}
    study = load_study(write_study(tmp_path, factors={"pooling": wrong}))
    pool = Pool(["3", "5"])
    seen: dict[str, list[bytes]] = {}

    def look(progress: Progress) -> None:
        for running in pool.running:
            with suppress(ProcessLookupError):  # it has ended since
                environment = Path(f"/proc/{running.process.pid}/environ").read_bytes().split(b"\0")
                named = [word for word in environment if word.startswith(b"CUDA_VISIBLE")]
                seen.setdefault(running.cell.levels["pooling"], named)

    progress = pool.run(cell_groups(study, tmp_path, []), look)
    assert seen == {"upwards": [b"CUDA_VISIBLE_DEVICES=3"], "sideways": [b"CUDA_VISIBLE_DEVICES=5"]}
    assert set(progress.failed) == {"pooling-upwards_seed-0", "pooling-sideways_seed-0"}
    assert sorted(pool.free) == ["3", "5"]


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("loading\nrefinenet: error: no folder\n  Put it there.\n", "refinenet: error: no folder Put it there."),
        ("first error: old\nsecond Error: new", "second Error: new"),
        ("all went\nwell", "well"),
        ("", "empty"),
        (None, "empty"),
    ],
)
def test_the_reason_of_a_failure_is_what_the_log_says_from_its_last_error_on(log, told, tmp_path):
    path = tmp_path / "log.txt"
    if log is not None:
        path.write_text(log)
    assert failure_message("exit status 2", path) == f"exit status 2, {path}: {told}"
