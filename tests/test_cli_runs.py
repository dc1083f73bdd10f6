"""A whole run on fake CamVid: its folder, its results, and the commands that take its checkpoint."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from helpers.commands import fit_options, only_run, refinenet
from PIL import Image

from refinenet_pl.data.camvid import CAMVID
from refinenet_pl.runs import RunFolder


@pytest.fixture
def run(trained_run: Path) -> RunFolder:
    return RunFolder(trained_run)


def read_only(runs: Path, suffix: str = "") -> dict[str, Any]:
    """The results of the only run in `runs`."""
    return RunFolder(only_run(runs, suffix)).read_results()


def test_run_folder_has_everything(run):
    assert run.path.parent.name == "fake"
    files = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    pictures = {f"pictures/val_{index}.png" for index in range(3)}
    checkpoints = {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    files_once = {"config.yaml", "history.json", "lock", "metrics.csv", "costs.json", "results.json", "per_image.npz"}
    files_once |= {"manifest.json", "first_steps.json"}
    assert files == files_once | pictures | checkpoints


def test_prints_the_folder_first_and_last(fake_camvid, tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "fit", *fit_options(fake_camvid, tmp_path), "--trainer.max_epochs=1") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run folder: ")]
    assert lines == [f"run folder: {only_run(tmp_path)}"] * 2


def test_results_are_complete(run):
    results = run.read_results()
    matrix = np.array(results["confusion_matrix"])
    target_pixels = sum(
        np.bincount(np.array(Image.open(path)).ravel(), minlength=12)[:11]
        for path in sorted(Path(results["config"]["data"]["init_args"]["root"]).glob("valannot/*.png"))
    )
    assert (matrix.sum(1) == target_pixels).all()
    correct = np.diag(matrix)
    iou = correct / (matrix.sum(0) + matrix.sum(1) - correct)
    assert list(results["per_class_iou"]) == list(CAMVID.names)
    np.testing.assert_allclose(list(results["per_class_iou"].values()), iou, rtol=1e-12)
    assert results["miou"] == pytest.approx(iou.mean(), rel=1e-12)
    assert results["pixel_accuracy"] == pytest.approx(correct.sum() / matrix.sum(), rel=1e-12)
    assert results["mean_accuracy"] == pytest.approx((correct / matrix.sum(1)).mean(), rel=1e-12)
    assert (results["images"], results["seed"], results["split"]) == (3, 0, "val")
    assert results["seconds"] > 0
    assert {"torch", "python", "refinenet_pl"} <= set(results["versions"])


def test_fit_evaluates_the_best_checkpoint(run):
    with run.metrics.open() as file:
        validations = [float(row["val/miou"]) for row in csv.DictReader(file) if row["val/miou"]]
    assert run.read_results()["miou"] == pytest.approx(max(validations), abs=1e-6)


def test_saved_config_is_complete(run):
    model = run.read_config()["model"]
    assert model["network"]["init_args"]["classes"] == 11
    assert model["preprocessing"]["class_names"] == list(CAMVID.names)
    assert model["preprocessing"]["class_colors"] == [list(color) for color in CAMVID.colors]
    statistics = timm.get_pretrained_cfg("test_resnet.r160_in1k")
    assert statistics is not None
    assert model["preprocessing"]["mean"] == list(statistics.mean)
    assert model["preprocessing"]["std"] == list(statistics.std)


def test_results_hold_the_saved_config(run):
    assert run.read_results()["config"] == run.read_config()


def test_saved_config_names_loss_and_schedule(run):
    model = run.read_config()["model"]
    loss = {"class_weights": None, "label_smoothing": 0.0}
    assert model["loss"] == {"class_path": "refinenet_pl.training.losses.CrossEntropy", "init_args": loss}
    schedule = {"warmup_steps": 0, "power": 0.9}
    assert model["schedule"] == {"class_path": "refinenet_pl.training.schedules.Poly", "init_args": schedule}


def test_options_replace_loss_and_schedule(fake_camvid, tmp_path, monkeypatch):
    file = tmp_path / "weights.yaml"
    weights = {"class_path": "CrossEntropy", "init_args": {"class_weights": [1.0] * 11}}
    file.write_text(yaml.safe_dump({"model": {"loss": weights, "schedule": {"class_path": "MultiStep"}}}))
    options = [*fit_options(fake_camvid, tmp_path / "runs"), "--trainer.max_epochs=1", f"--config={file}"]
    loss, schedule = ["--model.loss=OHEM", "--model.loss.threshold=0.9"], ["--model.schedule=Cosine"]
    assert refinenet(monkeypatch, "fit", *options, *loss, *schedule) == 0
    model = RunFolder(only_run(tmp_path / "runs")).read_config()["model"]
    ohem = {"threshold": 0.9, "min_kept": 1 / 16, "class_weights": [1.0] * 11}
    assert model["loss"] == {"class_path": "refinenet_pl.training.losses.OHEM", "init_args": ohem}
    cosine = {"warmup_steps": 0, "final_factor": 0.0}
    assert model["schedule"] == {"class_path": "refinenet_pl.training.schedules.Cosine", "init_args": cosine}


def test_run_is_named_after_all_configs(fake_camvid, tmp_path, monkeypatch):
    files = [tmp_path / name for name in ("camvid.yaml", "tiny.yaml", "class-weights.yaml")]
    for file, content in zip(files, ("trainer: {max_epochs: 1}", "pictures: 1", "seed_everything: 4"), strict=True):
        file.write_text(content)
    configs = [word for file in files for word in ("--config", file)]
    assert refinenet(monkeypatch, "fit", *configs, *fit_options(fake_camvid, tmp_path / "runs")) == 0
    run = RunFolder(only_run(tmp_path / "runs"))
    assert run.path.parent.name == "camvid_tiny_class-weights"
    assert len(list(run.pictures.iterdir())) == 1
    assert run.read_results()["seed"] == 4


def test_checkpoint_keeps_the_name(run, tmp_path, monkeypatch):
    assert refinenet(monkeypatch, "test", "--ckpt_path", run.best_checkpoint, "--runs", tmp_path) == 0
    assert only_run(tmp_path).parent.name == "fake"


def test_validate_takes_a_run_folder(run, tmp_path, monkeypatch):
    assert refinenet(monkeypatch, "validate", f"--ckpt_path={run.path}", "--runs", tmp_path) == 0
    results = read_only(tmp_path)
    assert results["confusion_matrix"] == run.read_results()["confusion_matrix"]
    assert results["config"]["ckpt_path"] == str(run.best_checkpoint)


def test_saved_config_repeats_the_run(run, tmp_path, monkeypatch):
    assert refinenet(monkeypatch, "fit", "--config", run.config, "--runs", tmp_path) == 0
    again = RunFolder(only_run(tmp_path))
    assert again.read_results()["confusion_matrix"] == run.read_results()["confusion_matrix"]
    first, second = (torch.load(folder.last_checkpoint)["state_dict"] for folder in (run, again))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_moved_checkpoint_gives_same_metrics(run, tmp_path, monkeypatch):
    moved = shutil.copy(run.best_checkpoint, tmp_path / "moved.ckpt")
    assert refinenet(monkeypatch, "validate", "--ckpt_path", moved, "--runs", tmp_path / "runs") == 0
    assert read_only(tmp_path / "runs", "validate")["confusion_matrix"] == run.read_results()["confusion_matrix"]


def test_checkpoint_needs_no_other_weights(run, tmp_path, monkeypatch):
    gone = f"--model.network.encoder_weights={tmp_path}/gone.pth"
    arguments = ["--ckpt_path", run.best_checkpoint, "--runs", tmp_path, gone]
    assert refinenet(monkeypatch, "validate", *arguments) == 0
    assert read_only(tmp_path)["confusion_matrix"] == run.read_results()["confusion_matrix"]


def test_refuses_checkpoint_that_does_not_fit(run, tmp_path, monkeypatch, capsys):
    arguments = ["--ckpt_path", run.best_checkpoint, "--runs", tmp_path, "--model.network.pooling=null"]
    assert refinenet(monkeypatch, "validate", *arguments) == 2
    error = capsys.readouterr().err
    assert "does not fit the configured network" in error
    assert "network.decoder.blocks.0.pooling.convs.0.weight" in error


def test_test_split_has_its_own_results(run, tmp_path, monkeypatch):
    checkpoint = run.best_checkpoint
    assert refinenet(monkeypatch, "test", "--ckpt_path", checkpoint, "--runs", tmp_path) == 0
    results = read_only(tmp_path, "test")
    assert (results["split"], results["images"]) == ("test", 2)


def test_predict_takes_any_image(run, fake_camvid, tmp_path, monkeypatch):
    photos = tmp_path / "photos" / "deep"
    photos.mkdir(parents=True)
    Image.open(fake_camvid / "val" / "val_0.png").save(photos / "one.jpg")
    Image.new("RGBA", (37, 51), (10, 200, 30, 128)).save(photos / "two.png")
    arguments = ["--ckpt_path", run.best_checkpoint, "--images", tmp_path / "photos"]
    assert refinenet(monkeypatch, "predict", *arguments, "--output", tmp_path / "out", "--runs", tmp_path / "runs") == 0
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    pictures = {f"{kind}/deep/{name}.png" for name in ("one", "two") for kind in ("masks", "overlays")}
    assert written == pictures | {"legend.png", "shares.csv", "manifest.json"}
    mask = Image.open(tmp_path / "out" / "masks" / "deep" / "two.png")
    assert (mask.mode, mask.size) == ("P", (37, 51))
    assert np.asarray(mask).max() < 11
    assert not (tmp_path / "runs").exists()


def test_last_checkpoint_is_the_last_epochs(fake_camvid, tmp_path, monkeypatch):
    no_training = ["--model.optimizer=SGD", "--model.optimizer.lr=0", "--model.batch_norm=frozen"]
    options = [*fit_options(fake_camvid, tmp_path), *no_training, "--trainer.max_epochs=3"]
    assert refinenet(monkeypatch, "fit", *options) == 0
    run = RunFolder(only_run(tmp_path))
    epochs = {path.name: torch.load(path)["epoch"] for path in run.checkpoints.iterdir()}
    assert epochs == {"best.ckpt": 0, "last.ckpt": 2}


def test_one_seed_gives_the_same_weights(fake_camvid, tmp_path, monkeypatch):
    weights = []
    for runs in (tmp_path / "first", tmp_path / "second"):
        workers = ["--data.num_workers=2", "--data.color_jitter=0.5", "--trainer.max_epochs=2"]
        assert refinenet(monkeypatch, "fit", *fit_options(fake_camvid, runs), *workers) == 0
        weights.append(torch.load(RunFolder(only_run(runs)).last_checkpoint)["state_dict"])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
