"""An offline W&B run, read from its files."""

import shutil
from pathlib import Path

import pytest
from helpers.commands import fit_options, only_run, refinenet_process
from helpers.wandb_reader import read_offline_run

from refinenet_pl.runs import RunFolder


@pytest.fixture(scope="module")
def run(fake_camvid, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wandb")
    options = fit_options(fake_camvid, folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_MODE"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(folder))  # a home without a login
        patch.setenv("NETRC", str(folder / ".netrc"))
        done = refinenet_process(
            folder, "fit", *options, "--trainer.logger=WandbLogger", "--trainer.logger.project=trial",
            "--trainer.max_epochs=2", "--experiment=x#1: odd?",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        first = only_run(folder / "runs")
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("W&B: not logged in")]
        assert str(first.relative_to(folder)) in line or str(first) in line
    return first


def test_run_has_config_and_metrics(run):
    logged = read_offline_run(run / "wandb")
    assert logged["project"] == "trial"
    assert run.name in logged["id"]
    assert logged["exit"] == 0
    assert not set(logged["id"]) & set(":;,#?/' "), "W&B refuses these in an id"
    saved = RunFolder(run).read_config()
    assert logged["config"]["model"]["network"] == saved["model"]["network"]
    validations = [row for row in logged["history"] if "val/miou" in row]
    assert len(validations) == 3  # two epochs, and the best checkpoint
    assert {"val/iou/sky", "val/iou/bicyclist", "val/pixel_accuracy"} <= set(validations[0])
    assert [row for row in logged["history"] if "train/loss" in row and "lr" in row]


def test_validation_logs_one_panel(run):
    panels = [row for row in read_offline_run(run / "wandb")["history"] if any("predictions" in key for key in row)]
    assert len(panels) == 3
    masks = panels[0]["predictions/all_masks"]
    assert [set(mask) for mask in masks] == [{"target", "prediction"}] * 3
    for mask in masks:
        (found,) = (run / "wandb").rglob(Path(mask["target"]["path"]).name)
        assert found.stat().st_size > 0


def test_resume_keeps_the_id(run, tmp_path, monkeypatch):
    """It resumes in a copied folder, with an account, but without a way to the server."""
    copy = RunFolder(Path(shutil.copytree(run, tmp_path / "copy" / "renamed", symlinks=True)))
    copy.results.unlink()  # as if it was killed before its evaluation
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    done = refinenet_process(tmp_path, "fit", "--ckpt_path", copy.last_checkpoint, "--trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("W&B: no answer from http://127.0.0.1:9; this run stays offline") == 1
    ids = {read_offline_run(folder)["id"] for folder in (copy.path / "wandb").glob("offline-run-*")}
    assert len(list((copy.path / "wandb").glob("offline-run-*"))) == 2
    assert len(ids) == 1


def test_failed_run_is_no_success(fake_camvid, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = [*fit_options(fake_camvid, tmp_path / "runs"), "--trainer.logger=WandbLogger", "--pictures=0"]
    stopping = ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val/nothing"]
    done = refinenet_process(tmp_path, "fit", *options, *stopping, "--trainer.max_epochs=1")
    assert done.returncode == 2, done.stderr
    assert "val/nothing" in done.stderr
    logged = read_offline_run(only_run(tmp_path / "runs") / "wandb")
    assert [row for row in logged["history"] if "val/miou" in row]
    assert logged["exit"] == 1
