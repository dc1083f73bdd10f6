"""An offline W&B run, read from its files."""

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
            "--trainer.max_epochs=2",
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


def test_resume_keeps_the_id(run, tmp_path):
    checkpoint = RunFolder(run).last_checkpoint
    done = refinenet_process(tmp_path, "fit", "--ckpt_path", checkpoint, "--trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr[-3000:]
    ids = {read_offline_run(folder)["id"] for folder in (run / "wandb").glob("offline-run-*")}
    assert len(list((run / "wandb").glob("offline-run-*"))) == 2
    assert len(ids) == 1
