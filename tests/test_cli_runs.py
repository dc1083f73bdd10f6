"""A run from start to end on fake CamVid: its folder, its results, and all that starts from its checkpoint."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from helpers.commands import fit_options, only_run, refinenet
from helpers.fake_data import make_camvid
from PIL import Image

from refinenet_pl.data.camvid import CAMVID


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    return make_camvid(tmp_path_factory.mktemp("data") / "camvid", train=5, val=3)


@pytest.fixture(scope="module")
def run(camvid, tmp_path_factory):
    """The folder of a finished training."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, "fit", *fit_options(camvid, runs), "--experiment=fake", "--trainer.max_epochs=2") == 0
    return only_run(runs)


def read(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_a_run_has_one_folder_with_everything(run):
    assert run.parent.name == "fake"
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    pictures = {f"pictures/val_{index}.png" for index in range(3)}
    checkpoints = {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    own = {"config.yaml", "metrics.csv", "costs.json", "results.json", "per_image.npz"}
    assert files == own | pictures | checkpoints


def test_the_path_is_printed_first_and_last(camvid, tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "fit", *fit_options(camvid, tmp_path), "--trainer.max_epochs=1") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run folder: ")]
    assert lines == [f"run folder: {only_run(tmp_path)}"] * 2


def test_results_hold_what_a_reader_needs(run):
    results = read(run)
    matrix = np.array(results["confusion_matrix"])
    truth = sum(
        np.bincount(np.array(Image.open(path)).ravel(), minlength=12)[:11]
        for path in sorted(Path(results["config"]["data"]["init_args"]["root"]).glob("valannot/*.png"))
    )
    assert (matrix.sum(1) == truth).all()
    hits = np.diag(matrix)
    iou = hits / (matrix.sum(0) + matrix.sum(1) - hits)
    assert list(results["per_class_iou"]) == list(CAMVID.names)
    np.testing.assert_allclose(list(results["per_class_iou"].values()), iou, rtol=1e-12)
    assert results["miou"] == pytest.approx(iou.mean(), rel=1e-12)
    assert results["pixel_accuracy"] == pytest.approx(hits.sum() / matrix.sum(), rel=1e-12)
    assert results["mean_accuracy"] == pytest.approx((hits / matrix.sum(1)).mean(), rel=1e-12)
    assert (results["images"], results["seed"], results["split"]) == (3, 0, "val")
    assert results["seconds"] > 0
    assert {"torch", "python", "refinenet_pl"} <= set(results["versions"])


def test_fit_ends_with_the_figures_of_its_best_checkpoint(run):
    with (run / "metrics.csv").open() as file:
        validations = [float(row["val/miou"]) for row in csv.DictReader(file) if row["val/miou"]]
    assert read(run)["miou"] == pytest.approx(max(validations), abs=1e-6)


def test_the_saved_configuration_says_what_was_filled_in(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["network"]["init_args"]["classes"] == 11
    assert config["model"]["class_names"] == list(CAMVID.names)
    statistics = timm.get_pretrained_cfg("test_resnet.r160_in1k")
    assert statistics is not None
    assert config["model"]["mean"] == list(statistics.mean)


def test_the_saved_configuration_runs_again_as_is_and_gives_the_same(run, tmp_path, monkeypatch):
    assert refinenet(monkeypatch, "fit", "--config", run / "config.yaml", "--runs", tmp_path) == 0
    again = only_run(tmp_path)
    assert read(again)["confusion_matrix"] == read(run)["confusion_matrix"]
    first, second = (torch.load(folder / "checkpoints/last.ckpt")["state_dict"] for folder in (run, again))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_checkpoint_evaluates_anywhere_to_the_same_figures(run, tmp_path, monkeypatch):
    moved = shutil.copy(run / "checkpoints" / "best.ckpt", tmp_path / "moved.ckpt")
    assert refinenet(monkeypatch, "validate", "--ckpt_path", moved, "--runs", tmp_path / "runs") == 0
    assert read(only_run(tmp_path / "runs", "validate"))["confusion_matrix"] == read(run)["confusion_matrix"]


def test_a_checkpoint_needs_no_weights_but_its_own(run, tmp_path, monkeypatch):
    gone = f"--model.network.encoder_weights={tmp_path}/gone.pth"
    arguments = ["--ckpt_path", run / "checkpoints" / "best.ckpt", "--runs", tmp_path, gone]
    assert refinenet(monkeypatch, "validate", *arguments) == 0
    assert read(only_run(tmp_path))["confusion_matrix"] == read(run)["confusion_matrix"]


def test_a_checkpoint_of_another_network_is_refused_with_the_keys(run, tmp_path, monkeypatch, capsys):
    arguments = ["--ckpt_path", run / "checkpoints" / "best.ckpt", "--runs", tmp_path, "--model.network.pooling=null"]
    assert refinenet(monkeypatch, "validate", *arguments) == 2
    error = capsys.readouterr().err
    assert "of another network" in error
    assert "network.decoder.blocks.0.pooling.convs.0.weight" in error


def test_the_test_split_has_results_of_its_own(run, tmp_path, monkeypatch):
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert refinenet(monkeypatch, "test", "--ckpt_path", checkpoint, "--runs", tmp_path) == 0
    results = read(only_run(tmp_path, "test"))
    assert (results["split"], results["images"]) == ("test", 2)


def test_predict_writes_a_palette_mask_and_an_overlay_for_any_image(run, camvid, tmp_path, monkeypatch):
    photos = tmp_path / "photos" / "deep"
    photos.mkdir(parents=True)
    Image.open(camvid / "val" / "val_0.png").save(photos / "one.jpg")
    Image.new("RGBA", (37, 51), (10, 200, 30, 128)).save(photos / "two.png")
    arguments = ["--ckpt_path", run / "checkpoints" / "best.ckpt", "--images", tmp_path / "photos"]
    assert refinenet(monkeypatch, "predict", *arguments, "--output", tmp_path / "out", "--runs", tmp_path / "runs") == 0
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert written == {f"deep/{name}{end}.png" for name in ("one", "two") for end in ("", "_overlay")}
    mask = Image.open(tmp_path / "out" / "deep" / "two.png")
    assert (mask.mode, mask.size) == ("P", (37, 51))
    assert np.asarray(mask).max() < 11
    assert not (tmp_path / "runs").exists()


def test_the_last_checkpoint_is_of_the_last_epoch_even_if_the_best_is_older(camvid, tmp_path, monkeypatch):
    standing_still = ["--model.optimizer=SGD", "--model.optimizer.lr=0", "--model.batch_norm=frozen"]
    options = [*fit_options(camvid, tmp_path), *standing_still, "--trainer.max_epochs=3"]
    assert refinenet(monkeypatch, "fit", *options) == 0
    checkpoints = only_run(tmp_path) / "checkpoints"
    epochs = {path.name: torch.load(path)["epoch"] for path in checkpoints.iterdir()}
    assert epochs == {"best.ckpt": 0, "last.ckpt": 2}


def test_two_runs_of_one_seed_are_the_same_bit_for_bit_with_worker_processes_too(camvid, tmp_path, monkeypatch):
    weights = []
    for runs in (tmp_path / "first", tmp_path / "second"):
        workers = ["--data.num_workers=2", "--data.color_jitter=0.5", "--trainer.max_epochs=2"]
        assert refinenet(monkeypatch, "fit", *fit_options(camvid, runs), *workers) == 0
        weights.append(torch.load(only_run(runs) / "checkpoints" / "last.ckpt")["state_dict"])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_resumed_run_goes_on_in_its_folder_as_if_it_had_not_stopped(camvid, tmp_path, monkeypatch):
    options = fit_options(camvid, tmp_path / "whole")
    assert refinenet(monkeypatch, "fit", *options, "--trainer.max_epochs=2") == 0
    # The same run, killed after its first epoch: the schedule still spans two.
    options[options.index(f"--runs={tmp_path / 'whole'}")] = f"--runs={tmp_path / 'parts'}"
    stopped = ["--trainer.max_epochs=2", "--trainer.max_time=00:00:00:00"]
    assert refinenet(monkeypatch, "fit", *options, *stopped, "--trainer.min_epochs=1") == 0
    part = only_run(tmp_path / "parts")
    resume = ["--ckpt_path", str(part / "checkpoints" / "last.ckpt"), "--trainer.max_time=null"]
    assert refinenet(monkeypatch, "fit", *resume) == 0
    assert only_run(tmp_path / "parts") == part
    assert (part / "metrics.part1.csv").is_file()
    rates = []
    for files in ([only_run(tmp_path / "whole") / "metrics.csv"], [part / "metrics.part1.csv", part / "metrics.csv"]):
        rows = [row for file in files for row in csv.DictReader(file.open())]
        rates.append([row["lr"] for row in rows if row["lr"]])
    assert rates[0] == rates[1]
    assert len(rates[0]) == 4
