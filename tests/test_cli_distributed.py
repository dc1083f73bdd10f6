"""Two CPU processes give the figures of one, to the last count."""

import json
from pathlib import Path

import pytest
from commands import fit_options, only_run, refinenet_process
from fake_data import make_voc

TWO = ("--trainer.devices=2", "--trainer.strategy=ddp")


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    """Images of mixed sizes, an odd number of them to validate."""
    names = list("abcdefg")
    return make_voc(tmp_path_factory.mktemp("data") / "voc", train=names[:4], val=names[4:])


def results(runs: Path, suffix: str = "") -> dict:
    return json.loads((only_run(runs, suffix) / "results.json").read_text())


@pytest.fixture(scope="module")
def two_process_run(voc, tmp_path_factory):
    """The folder of runs of a training by two processes."""
    runs = tmp_path_factory.mktemp("runs")
    options = fit_options(voc, runs, data="VOCDataModule")
    done = refinenet_process(runs, "fit", *options, *TWO, "--trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr[-3000:]
    return runs


def test_validation_within_fit_counts_each_image_once(two_process_run):
    assert results(two_process_run)["images"] == 3


@pytest.mark.parametrize("devices", [(), TWO], ids=["one process", "two processes"])
def test_every_number_of_processes_gives_the_same_confusion_matrix(devices, two_process_run, tmp_path):
    checkpoint = only_run(two_process_run) / "checkpoints" / "best.ckpt"
    one = ("--trainer.devices=1", "--trainer.strategy=auto")
    done = refinenet_process(tmp_path, "validate", "--ckpt_path", checkpoint, f"--runs={tmp_path}", *(devices or one))
    assert done.returncode == 0, done.stderr[-3000:]
    assert results(tmp_path)["images"] == 3
    assert results(tmp_path)["confusion_matrix"] == results(two_process_run)["confusion_matrix"]
