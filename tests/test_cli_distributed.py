"""Two CPU processes give exactly the metrics of one."""

import csv
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import fit_options, only_run, refinenet, refinenet_process
from helpers.fake_data import make_camvid, make_voc

from refinenet_pl.runs import RunFolder

ARRAYS = ("class_names", "names", "image", "true", "predicted", "pixels")


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Images of mixed sizes; the validation split has an odd number, and one image more that is broken."""
    names = list("abcdefgh")
    root = make_voc(tmp_path_factory.mktemp("data") / "voc", train=names[:4], val=names[4:])
    (root / "VOCdevkit/VOC2012/JPEGImages/h.jpg").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def two_size_camvid(tmp_path_factory):
    """Images of two sizes; the test split has an odd number."""
    root = tmp_path_factory.mktemp("data") / "camvid"
    make_camvid(root, test=5)
    return make_camvid(root, test=2, size=(40, 57))


@pytest.fixture(scope="module")
def two_process_run(voc, tmp_path_factory):
    """The run folder of a fit with two processes."""
    runs = tmp_path_factory.mktemp("runs")
    options = [*fit_options(voc, runs, "VOCDataModule"), "--trainer.max_epochs=1", "--data.skip_broken=1"]
    run_with_two("fit", runs, *options)
    return only_run(runs)


@pytest.fixture(scope="module")
def one_process_run(two_size_camvid, tmp_path_factory):
    """The run folder of a fit with one process."""
    runs = tmp_path_factory.mktemp("runs")
    run_with_one("fit", *fit_options(two_size_camvid, runs), "--trainer.max_epochs=1")
    return only_run(runs)


@pytest.fixture(scope="module")
def validated_with_one(two_process_run, tmp_path_factory):
    """The run folder of a validation with one process, of the checkpoint that two processes trained."""
    runs = tmp_path_factory.mktemp("runs")
    run_with_one("validate", "--ckpt_path", RunFolder(two_process_run).last_checkpoint, f"--runs={runs}")
    return only_run(runs)


def run_with_one(command: str, *options: str | Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, command, *options, "--trainer.devices=1", "--trainer.strategy=auto") == 0


def run_with_two(command: str, folder: Path, *options: str | Path) -> None:
    done = refinenet_process(folder, command, *options, "--trainer.devices=2", "--trainer.strategy=ddp")
    assert done.returncode == 0, done.stderr[-3000:]


def results(run: Path) -> dict:
    return RunFolder(run).read_results()


def assert_same_metrics(first: Path, second: Path) -> None:
    """Compare all but time and configuration."""
    one, other = results(first), results(second)
    for key in ("seconds", "config"):
        del one[key], other[key]
    assert one == other
    with np.load(RunFolder(first).per_image) as one_file, np.load(RunFolder(second).per_image) as other_file:
        for key in ARRAYS:
            np.testing.assert_array_equal(one_file[key], other_file[key])


def test_final_evaluation_counts_images_once(two_process_run):
    assert results(two_process_run)["images"] == 3
    assert [sample["name"] for sample in results(two_process_run)["skipped"]] == ["h"]
    with np.load(RunFolder(two_process_run).per_image) as file:
        assert file["names"].tolist() == ["e", "f", "g"]


def test_costs_are_the_main_processs(two_process_run):
    costs = RunFolder(two_process_run).read_costs()
    assert costs is not None
    assert costs["steps"] == costs["planned_steps"] == 1
    assert costs["planned_validation_images"] == 2 * 2, "it validates two of three images"


def test_validate_matches_one_process(two_process_run, validated_with_one, tmp_path):
    run_with_two("validate", tmp_path, "--ckpt_path", RunFolder(two_process_run).last_checkpoint, f"--runs={tmp_path}")
    assert results(validated_with_one)["images"] == 3
    assert_same_metrics(validated_with_one, only_run(tmp_path))
    assert_same_metrics(validated_with_one, two_process_run)


def test_test_matches_one_process(one_process_run, tmp_path):
    checkpoint = RunFolder(one_process_run).last_checkpoint
    one, two = tmp_path / "one", tmp_path / "two"
    run_with_one("test", "--ckpt_path", checkpoint, f"--runs={one}")
    run_with_two("test", tmp_path, "--ckpt_path", checkpoint, f"--runs={two}")
    assert (results(only_run(one))["split"], results(only_run(one))["images"]) == ("test", 5)
    assert_same_metrics(only_run(one), only_run(two))


def test_fit_logs_match_one_process(two_process_run, validated_with_one):
    with RunFolder(two_process_run).metrics.open() as file:
        within_fit, _ = [row for row in csv.DictReader(file) if row["val/miou"]]  # the second is the final evaluation
    found = results(validated_with_one)
    for key in ("miou", "pixel_accuracy", "mean_accuracy"):
        assert float(within_fit[f"val/{key}"]) == pytest.approx(found[key], abs=1e-6)
    for name, iou in found["per_class_iou"].items():
        assert float(within_fit[f"val/iou/{name}"]) == pytest.approx(iou, abs=1e-6), name
