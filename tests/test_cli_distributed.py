"""Two CPU processes give the figures of one, to the last count."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import fit_options, only_run, refinenet, refinenet_process
from helpers.fake_data import make_camvid, make_voc

ARRAYS = ("class_names", "names", "image", "true", "predicted", "pixels")


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Images of mixed sizes, an odd number of them to validate."""
    names = list("abcdefg")
    return make_voc(tmp_path_factory.mktemp("data") / "voc", train=names[:4], val=names[4:])


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """Images of two sizes, an odd number of them to test."""
    root = tmp_path_factory.mktemp("data") / "camvid"
    make_camvid(root, test=5)
    return make_camvid(root, test=2, size=(40, 57))


@pytest.fixture(scope="module")
def two_process_run(voc, tmp_path_factory):
    """The folder of a training by two processes."""
    runs = tmp_path_factory.mktemp("runs")
    run_by_two("fit", runs, *fit_options(voc, runs, "VOCDataModule"), "--trainer.max_epochs=1")
    return only_run(runs)


@pytest.fixture(scope="module")
def camvid_run(camvid, tmp_path_factory):
    """The folder of a training by one process."""
    runs = tmp_path_factory.mktemp("runs")
    run_by_one("fit", *fit_options(camvid, runs), "--trainer.max_epochs=1")
    return only_run(runs)


@pytest.fixture(scope="module")
def validated_by_one(two_process_run, tmp_path_factory):
    """The folder of a validation, by one process, of what two processes trained."""
    runs = tmp_path_factory.mktemp("runs")
    run_by_one("validate", "--ckpt_path", two_process_run / "checkpoints" / "last.ckpt", f"--runs={runs}")
    return only_run(runs)


def run_by_one(command: str, *options: str | Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, command, *options, "--trainer.devices=1", "--trainer.strategy=auto") == 0


def run_by_two(command: str, folder: Path, *options: str | Path) -> None:
    done = refinenet_process(folder, command, *options, "--trainer.devices=2", "--trainer.strategy=ddp")
    assert done.returncode == 0, done.stderr[-3000:]


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def assert_same_figures(first: Path, second: Path) -> None:
    """But for what tells the runs apart: their time, and their configuration."""
    one, other = results(first), results(second)
    for key in ("seconds", "config"):
        del one[key], other[key]
    assert one == other
    with np.load(first / "per_image.npz") as one_file, np.load(second / "per_image.npz") as other_file:
        for key in ARRAYS:
            np.testing.assert_array_equal(one_file[key], other_file[key])


def test_the_evaluation_that_ends_a_fit_counts_each_image_once(two_process_run):
    assert results(two_process_run)["images"] == 3
    with np.load(two_process_run / "per_image.npz") as file:
        assert file["names"].tolist() == ["e", "f", "g"]


def test_the_costs_of_two_processes_are_those_of_the_first(two_process_run):
    costs = json.loads((two_process_run / "costs.json").read_text())
    assert costs["steps"] == costs["planned_steps"] == 1
    assert costs["planned_validation_images"] == 2 * 2, "of three images it is dealt two"


def test_two_processes_validate_to_the_figures_images_and_intervals_of_one(two_process_run, validated_by_one, tmp_path):
    run_by_two("validate", tmp_path, "--ckpt_path", two_process_run / "checkpoints" / "last.ckpt", f"--runs={tmp_path}")
    assert results(validated_by_one)["images"] == 3
    assert_same_figures(validated_by_one, only_run(tmp_path))
    assert_same_figures(validated_by_one, two_process_run)


def test_two_processes_test_to_the_figures_images_and_intervals_of_one(camvid_run, tmp_path):
    checkpoint = camvid_run / "checkpoints" / "last.ckpt"
    one, two = tmp_path / "one", tmp_path / "two"
    run_by_one("test", "--ckpt_path", checkpoint, f"--runs={one}")
    run_by_two("test", tmp_path, "--ckpt_path", checkpoint, f"--runs={two}")
    assert (results(only_run(one))["split"], results(only_run(one))["images"]) == ("test", 5)
    assert_same_figures(only_run(one), only_run(two))


def test_what_two_processes_log_within_a_fit_is_what_one_finds_of_the_same_weights(two_process_run, validated_by_one):
    with (two_process_run / "metrics.csv").open() as file:
        within_fit, _ = [row for row in csv.DictReader(file) if row["val/miou"]]  # another ends the fit
    found = results(validated_by_one)
    for key in ("miou", "pixel_accuracy", "mean_accuracy"):
        assert float(within_fit[f"val/{key}"]) == pytest.approx(found[key], abs=1e-6)
    for name, iou in found["per_class_iou"].items():
        assert float(within_fit[f"val/iou/{name}"]) == pytest.approx(iou, abs=1e-6), name
