"""Studies run one process per cell: finished cells are skipped, interrupted ones resume, failures are reported."""

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
from helpers.fake_data import make_camvid
from helpers.tiny_study import POOLING, write_datasets_study, write_study, write_yaml
from helpers.wandb_reader import read_offline_run

from refinenet_pl.cli.study import add_fit_options, fit_options, study_parser
from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.commands import cell_groups, flatten
from refinenet_pl.studies.folders import CellFolder, deviations
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.measure import inference_file, read_rows
from refinenet_pl.studies.pool import Pool, Progress, failure_message

ORIGINAL = {"original": POOLING["original"]}
TEST = {"one": {"model.inference.scales": [1.0]}, "flip": {"model.inference.flip": True}}


def cell_folder(folder: Path, name: str, study: str = "tiny") -> CellFolder:
    return CellFolder(folder / "runs" / study / name)


def finished(folder: CellFolder) -> RunFolder:
    assert folder.finished is not None, folder.log.read_text()[-3000:]
    return folder.finished


def results(folder: CellFolder) -> dict:
    return finished(folder).read_results()


def run_study(folder: Path, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a study to its successful end."""
    done = refinenet_process(folder, "study", "run", path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which a study has run: one training that is evaluated in two ways."""
    folder = tmp_path_factory.mktemp("study")
    logger = {"class_path": "WandbLogger", "init_args": {"project": "trial"}}
    factors = {"pooling": ORIGINAL, "test": TEST}
    run_study(folder, write_study(folder, factors=factors, overrides={"trainer.logger": logger}))
    return folder


def test_cells_have_their_own_results(folder):
    study = load_study(folder / "tiny.yaml")
    assert len(study.cells) == 2
    for cell in study.cells:
        flip = results(cell_folder(folder, cell.name))["config"]["model"]["inference"]["flip"]
        assert flip == (cell.levels["test"] == "flip")


def test_inference_cells_do_not_train(folder):
    trained, evaluated = (cell_folder(folder, f"pooling-original_test-{test}_seed-0") for test in TEST)
    assert finished(trained).best_checkpoint.is_file()
    assert not finished(evaluated).checkpoints.exists()
    assert Path(results(evaluated)["config"]["ckpt_path"]).name == "best.ckpt"
    assert finished(trained).name in results(evaluated)["config"]["ckpt_path"]
    assert results(evaluated)["confusion_matrix"] != results(trained)["confusion_matrix"]


def test_wandb_group_and_levels(folder):
    logged = read_offline_run(finished(cell_folder(folder, "pooling-original_test-one_seed-0")).path / "wandb")
    assert (logged["project"], logged["group"]) == ("trial", "tiny")
    assert logged["config"]["study"] == "tiny"
    assert logged["config"]["levels"] == {"pooling": "original", "test": "one"}
    assert logged["config"]["model"]["network"]["init_args"]["pooling"] == "original"


def test_each_row_is_measured_once(folder):
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


def test_deviations_from_the_study(folder):
    cell = load_study(folder / "tiny.yaml").cells[0]
    run = finished(cell_folder(folder, cell.name))
    assert deviations(cell, run) == {}
    factors = {"pooling": ORIGINAL, "test": TEST}
    changed = write_study(folder, "changed", factors=factors, overrides={"trainer.max_epochs": 9})
    assert deviations(load_study(changed).cells[0], run) == {"trainer.max_epochs": (9, 2)}


@pytest.mark.parametrize(
    ("of_study", "of_run", "equal"),
    [
        ("1e-3", 0.001, True),  # YAML reads 1e-3 as a string
        ("2e2", 200, True),
        (1, 1.0, True),
        ("1e-3", 0.01, False),
        (2, "2", True),  # the command line saves a number of devices as text
        (True, "1", False),
        ("poly", 0.001, False),
        ("1", True, False),
        (None, 0.0, False),
        ([1, "5e-1"], [1.0, 0.5], True),
        ([1], [1, 2], False),
    ],
)
def test_numbers_are_compared_as_numbers(tmp_path, of_study, of_run, equal):
    key = "model.optimizer.init_args.lr"
    cell = load_study(write_study(tmp_path, overrides={key: of_study})).cells[0]
    config = yaml.safe_load(yaml.safe_dump(cell.config))
    config["model"]["network"]["class_path"] = "refinenet_pl.networks.LightWeightRefineNet"
    config["model"]["optimizer"]["init_args"]["lr"] = of_run
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    write_yaml(run.config, config)
    assert deviations(cell, run) == ({} if equal else {key: (of_study, of_run)})


@pytest.mark.slow
def test_equal_seeds_give_equal_results(folder, tmp_path):
    run_study(tmp_path, write_study(tmp_path, factors={"pooling": ORIGINAL}))
    names = ((folder, "pooling-original_test-one_seed-0"), (tmp_path, "pooling-original_seed-0"))
    first, second = (cell_folder(*name) for name in names)
    for key in ("confusion_matrix", "miou", "boundary_iou", "trimap_iou", "intervals"):
        assert results(first)[key] == results(second)[key]
    weights = [torch.load(finished(cell).last_checkpoint)["state_dict"] for cell in (first, second)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_only_selects_cells(tmp_path, monkeypatch, capsys):
    study = load_study(write_study(tmp_path, factors={"pooling": POOLING, "test": TEST}, seeds=[0, 1]))
    groups = cell_groups(study, tmp_path, {}, {"pooling": "none", "test": "flip", "seed": "1"})
    names = [cell.name for group in groups for cell in group.cells]
    # The first cell has the checkpoint that the second one evaluates.
    assert names == ["pooling-none_test-one_seed-1", "pooling-none_test-flip_seed-1"]
    (row,) = cell_groups(study, tmp_path, {}, {"row": "pooling-none_test-one", "seed": "0"})
    assert [cell.name for cell in row.cells] == ["pooling-none_test-one_seed-0"]
    for wrong, message in {
        "size=3": "no factor size; expected one of pooling, test, seed, row",
        "dataset=voc": "no factor dataset",
        "pooling=some": "no cell of",
        "pooling": "NAME=LEVEL",
    }.items():
        assert refinenet(monkeypatch, "study", "run", study.path, "--only", wrong) == 2
        assert message in capsys.readouterr().err


def test_only_selects_a_dataset(tmp_path):
    study = load_study(write_datasets_study(tmp_path))
    groups = cell_groups(study, tmp_path, {}, {"dataset": "person_part", "row": "pooling-none"})
    assert [cell.name for group in groups for cell in group.cells] == ["person-part_pooling-none_seed-0"]
    with pytest.raises(UserError, match=r"no cell of .*two\.yaml has dataset=voc"):
        cell_groups(study, tmp_path, {}, {"dataset": "voc"})


def test_missing_dataset_fails_alone(tmp_path):
    path = write_datasets_study(
        tmp_path,
        factors={"pooling": ORIGINAL},
        datasets={
            "person_part": {"base": "person_part.yaml"},
            "camvid": {"base": "camvid.yaml", "image_size": [32, 32], "overrides": {"trainer.max_epochs": 1}},
        },
    )
    make_camvid(tmp_path / "camvid")
    done = refinenet_process(tmp_path, "study", "run", path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "failed cells: 1" in done.stderr
    assert "person-part_pooling-original_seed-0: exit status 2, runs" in done.stderr
    assert str(tmp_path / "person_part") in done.stderr
    run = finished(cell_folder(tmp_path, "camvid_pooling-original_seed-0", "two"))
    assert run.read_results()["images"] == 3
    assert deviations(load_study(path).cells_of("camvid")[0], run) == {}
    (row,) = read_rows(inference_file(load_study(path), tmp_path / "runs"))
    assert [row[key] for key in ("row", "height", "width")] == ["camvid_pooling-original", "32", "32"]


@pytest.mark.slow
def test_failed_cell_fails_alone(tmp_path):
    factors = {"pooling": {"wrong": {"model.network.init_args.pooling": "sideways"}, **ORIGINAL}}
    path = write_study(tmp_path, factors=factors, overrides={"trainer.max_epochs": 1})
    done = refinenet_process(tmp_path, "study", "run", path, "--only", "seed=0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "failed cells: 1" in done.stderr
    assert "pooling-wrong_seed-0" in done.stderr
    assert "sideways" in cell_folder(tmp_path, "pooling-wrong_seed-0").log.read_text()
    assert results(cell_folder(tmp_path, "pooling-original_seed-0"))["images"] == 3


def wait_for(condition, seconds: float = 300) -> None:
    until = time.time() + seconds
    while not condition():
        assert time.time() < until, f"not true within {seconds} s"
        time.sleep(0.1)


def start(folder: Path, path: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "refinenet_pl", "study", "run", str(path), *options]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_interrupted_cell_resumes(tmp_path):
    path = write_study(tmp_path, factors={"pooling": ORIGINAL}, overrides={"trainer.max_epochs": 400})
    folder = cell_folder(tmp_path, "pooling-original_seed-0")
    process = start(tmp_path, path)
    wait_for(lambda: folder.resumable is not None)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    (run,) = folder.runs
    step = torch.load(run.last_checkpoint)["global_step"]
    assert 0 < step < 800
    epochs = step // 2 + 2  # of two steps each; the signal can come within one
    run_study(tmp_path, path, f"--trainer.max_epochs={epochs}")
    assert folder.runs == [run]
    assert torch.load(run.last_checkpoint)["global_step"] == 2 * epochs
    assert len((run.read_history() or {})["parts"]) == 2


def test_missing_evaluation_is_made_up(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    cell = cell_folder(tmp_path, "pooling-original_test-one_seed-0")
    expected = results(cell)
    finished(cell).results.unlink()
    run_study(tmp_path, tmp_path / "tiny.yaml")
    assert results(cell)["confusion_matrix"] == expected["confusion_matrix"]


def test_missing_checkpoint_fails_alone(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "runs" / "tiny" / "pooling-original_test-flip_seed-0")
    shutil.rmtree(finished(cell_folder(tmp_path, "pooling-original_test-one_seed-0")).checkpoints)
    done = refinenet_process(tmp_path, "study", "run", tmp_path / "tiny.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "found no best.ckpt of a finished run" in done.stderr


def test_two_commands_share_the_cells(tmp_path):
    factors = {"pooling": POOLING}
    path = write_study(tmp_path, factors=factors, overrides={"trainer.max_epochs": 20})
    commands = [start(tmp_path, path) for _ in range(2)]
    assert [command.wait() for command in commands] == [0, 0]
    for name in factors["pooling"]:
        (run,) = cell_folder(tmp_path, f"pooling-{name}_seed-0").runs
        assert run.finished
        assert len((run.read_history() or {})["parts"]) == 1


def test_dry_run_estimates_the_time(tmp_path):
    path = write_study(tmp_path, factors={"pooling": {"none": POOLING["none"]}}, seeds=[0, 1])
    done = run_study(tmp_path, path, "--dry-run")
    assert "pooling-none_seed-0" in done.stdout
    assert "pooling-none_seed-1" in done.stdout
    assert "pooling: None" in done.stdout
    assert "4 steps of" in done.stdout
    assert "total: about" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_experiment_of_a_cell_is_kept(folder):
    cell = load_study(folder / "tiny.yaml").cells[0]
    assert yaml.safe_load(cell_folder(folder, cell.name).experiment.read_text()) == cell.config


def test_options_change_the_devices(tmp_path):
    study = load_study(write_study(tmp_path, overrides={"trainer.devices": 2, "trainer.num_nodes": 3}))
    group = cell_groups(study, tmp_path, {})[0]
    assert (group.devices, group.nodes) == (2, 3)
    for options in ({"devices": 8, "num_nodes": 1}, {"devices": "8", "num_nodes": "1"}):
        group = cell_groups(study, tmp_path, {"trainer": options})[0]
        assert (group.devices, group.nodes) == (8, 1)
    assert cell_groups(study, tmp_path, {"trainer": {"devices": "auto"}})[0].devices == 1


def parse_fit_options(*words: str) -> dict:
    parser = study_parser("study run", "")
    add_fit_options(parser)
    return fit_options(parser.parse_args(["study.yaml", *words]))


def test_options_reach_the_command(tmp_path):
    study = load_study(write_study(tmp_path))
    options = parse_fit_options("--data.root=/data", "--trainer.max_time", "24:00:00:00")
    command = cell_groups(study, tmp_path, options)[0].command(study.cells[0])
    assert command[-2:] == ["--data.root=/data", "--trainer.max_time=24:00:00:00"]


def test_flatten_writes_options():
    options = {
        "data": {"root": "/data/a b", "crop_size": [32, 48], "flip": False, "pad_color": None, "mapping": {}},
        "model": {"optimizer": {"init_args": {"lr": 1e-05}}, "inference.scales": "[0.5, 1]"},
    }
    assert flatten(options) == [
        "--data.root=/data/a b", "--data.crop_size=[32, 48]", "--data.flip=false", "--data.pad_color=null",
        "--data.mapping={}", "--model.optimizer.init_args.lr=1e-05", "--model.inference.scales=[0.5, 1]",
    ]  # fmt: skip
    assert flatten({}) == []


def test_fit_options_are_json_or_text():
    words = ["--data.root=1_000", "--data.name=no", "--data.flip=true", "--model.network.encoder_weights=null"]
    assert parse_fit_options(*words, "--trainer.max_time=24:00:00:00", "--data.crop_size=[32, 48]") == {
        "model": {"network": {"encoder_weights": None}},
        "data": {"root": "1_000", "name": "no", "flip": True, "crop_size": [32, 48]},
        "trainer": {"max_time": "24:00:00:00"},
    }


@pytest.mark.parametrize("command", ["run", "sweep"])
@pytest.mark.parametrize("option", ["--daat.root=x", "--root=x", "--data=x", "--device=2x"])
def test_mistyped_option_is_refused(tmp_path, monkeypatch, capsys, command, option):
    path = write_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert refinenet(monkeypatch, "study", command, path, option) == 2
    assert option.partition("=")[0].removeprefix("--") in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_too_few_devices_are_refused(tmp_path, monkeypatch, capsys):
    path = write_study(tmp_path, overrides={"trainer.devices": 2})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert refinenet(monkeypatch, "study", "run", path) == 2
    assert "needs 1 x 2 devices, but only 1 are used here" in capsys.readouterr().err


def test_processes_see_their_own_gpus(tmp_path):
    # This test needs no GPU. The processes end at once, because their cells have mistakes.
    wrong = {name: {"model.network.init_args.pooling": name} for name in ("upwards", "sideways")}
    study = load_study(write_study(tmp_path, factors={"pooling": wrong}))
    pool = Pool(["3", "5"])
    seen: dict[str, list[bytes]] = {}

    def read_environments(progress: Progress) -> None:
        for running in pool.processes:
            with suppress(ProcessLookupError):  # the process has ended
                environment = Path(f"/proc/{running.process.pid}/environ").read_bytes().split(b"\0")
                devices = [word for word in environment if word.startswith(b"CUDA_VISIBLE")]
                seen.setdefault(running.cell.levels["pooling"], devices)

    progress = pool.run(cell_groups(study, tmp_path, {}), read_environments)
    assert seen == {"upwards": [b"CUDA_VISIBLE_DEVICES=3"], "sideways": [b"CUDA_VISIBLE_DEVICES=5"]}
    assert set(progress.failed) == {"pooling-upwards_seed-0", "pooling-sideways_seed-0"}
    assert sorted(pool.free) == ["3", "5"]


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("loading\nrefinenet: error: no folder\n  Put it there.\n", "refinenet: error: no folder Put it there."),
        ("first error: old\nsecond Error: new", "second Error: new"),
        ("epoch 1\nepoch 2", "epoch 2"),
        ("", "empty"),
        (None, "empty"),
    ],
)
def test_failure_message_of_a_log(log, message, tmp_path):
    path = tmp_path / "log.txt"
    if log is not None:
        path.write_text(log)
    assert failure_message("exit status 2", path) == f"exit status 2, {path}: {message}"


def test_studies_do_not_load_torch():
    script = "import sys, refinenet_pl.studies.pool, refinenet_pl.studies.table; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
