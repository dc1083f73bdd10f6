"""An offline W&B run, read from its files."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import fit_options, only_run, refinenet_process
from helpers.wandb_reader import read_offline_run
from helpers.wandb_server import wandb_server
from PIL import Image

from refinenet_pl.data.camvid import CAMVID
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.runs import RunFolder

MASKS = "predictions/val_0/masks"


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
            "--trainer.logger.log_model=true", "--trainer.max_epochs=2", "--experiment=x#1: odd?",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        first = only_run(folder / "runs")
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("W&B: not logged in")]
        assert str(first.relative_to(folder)) in line or str(first) in line
    return first


@pytest.fixture(scope="module")
def resumed(run, tmp_path_factory):
    """The run, resumed in a copied folder, with an account, but without a way to the server."""
    folder = tmp_path_factory.mktemp("resumed")
    copy = RunFolder(Path(shutil.copytree(run, folder / "x#1: odd?" / "renamed", symlinks=True)))
    copy.results.unlink()  # as if it was killed before its evaluation
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_MODE", raising=False)
        patch.setenv("WANDB_API_KEY", "0" * 40)
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        done = refinenet_process(folder, "fit", "--ckpt_path", copy.last_checkpoint, "--trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("W&B: no answer from http://127.0.0.1:9; this run stays offline") == 1
    return copy.path


def parts(run: Path) -> list[dict[str, Any]]:
    return [read_offline_run(folder) for folder in sorted((run / "wandb").glob("offline-run-*"))]


def rows_with(run: Path, key: str) -> list[dict[str, Any]]:
    return [row for row in read_offline_run(run / "wandb")["history"] if key in row]


def tables(run: Path, key: str) -> list[list[list[Any]]]:
    """Return the rows of each table that was logged under a key."""
    (files,) = (run / "wandb").glob("offline-run-*/files")
    return [json.loads((files / row[f"{key}/path"]).read_text())["data"] for row in rows_with(run, f"{key}/path")]


def test_run_has_config_and_metrics(run):
    logged = read_offline_run(run / "wandb")
    assert logged["project"] == "trial"
    assert logged["name"] == f"x#1: odd?-{run.name}"
    assert run.name in logged["id"]
    assert logged["exit"] == 0
    assert not set(logged["id"]) & set(":;,#?/' "), "W&B refuses these in an id"
    saved = RunFolder(run).read_config()
    assert logged["config"]["model"]["network"] == saved["model"]["network"]
    assert logged["config"]["command"].startswith("refinenet fit --model.network=LightWeightRefineNet")
    assert logged["config"]["code"] == json.loads(RunFolder(run).manifest.read_text())["code"]
    validations = [row for row in logged["history"] if "val/miou" in row]
    assert len(validations) == 2
    assert {"val/iou/sky", "val/iou/bicyclist", "val/pixel_accuracy", "val/loss"} <= set(validations[0])
    assert len([row for row in logged["history"] if {"train/loss", "lr", "lr/encoder", "grad_norm"} <= set(row)]) == 4
    assert logged["summary"]["val/miou"] == {"max": pytest.approx(max(row["val/miou"] for row in validations))}


def test_results_and_costs_are_logged(run):
    results, (final,) = RunFolder(run).read_results(), rows_with(run, "final/miou")
    assert final["trainer/global_step"] == 4
    assert (final["final/miou"], final["final/boundary_iou"]) == (results["miou"], results["boundary_iou"]["mean"])
    assert [final["final/miou/low"], final["final/miou/high"]] == results["intervals"]["miou"]
    assert final["final/iou/sky"] == results["per_class_iou"]["sky"]
    assert final["cost/steps"] == 4
    (cells,) = tables(run, "final/confusion_matrix_table")
    matrix = np.array(results["confusion_matrix"])
    expected = 100 * matrix / matrix.sum(1, keepdims=True)
    np.testing.assert_allclose([cell[2] for cell in cells], expected.ravel(), atol=0.01)


def test_table_of_classes_has_changes(run):
    first, second = tables(run, "val/classes")
    logged = rows_with(run, "val/miou")
    for index, (name, before, after) in enumerate(zip(CAMVID.names, first, second, strict=True)):
        values = [100 * row[f"val/iou/{name}"] for row in logged]
        assert before[:3] == [name, pytest.approx(values[0], abs=1e-4), None], index
        assert after[:3] == [name, *(pytest.approx(x, abs=1e-4) for x in (values[1], values[1] - values[0]))]


def test_best_checkpoint_is_the_only_model(run):
    results = RunFolder(run).read_results()
    (model,) = read_offline_run(run / "wandb")["models"]
    assert (model["name"], run.name in model["aliases"]) == ("x-1--odd-", True)
    assert model["files"] == {"best.ckpt": str(RunFolder(run).best_checkpoint)}
    metadata = model["metadata"]
    assert (metadata["miou"], metadata["classes"]) == (results["miou"], list(CAMVID.names))
    assert metadata["step"] == torch.load(RunFolder(run).best_checkpoint)["global_step"]
    manifest = json.loads(RunFolder(run).manifest.read_text())
    assert (metadata["data"], metadata["code"]) == (manifest["data"], manifest["code"])


def test_pictures_are_the_same_in_all_validations(resumed):
    first, second = (part["history"] for part in parts(resumed))
    images = [key for row in (*first, *second) for key in row if re.fullmatch("pictures/val_[012]/path", key)]
    assert len(images) == 3, "image and truth of each sample, once"
    for rows, validations in ((first, 2), (second, 1)):
        shown = [row for row in rows if "predictions/val_0/path" in row]
        assert len(shown) == validations
        for row in shown:
            assert {key.split("/")[1] for key in row if key.startswith("predictions/")} == {"val_0", "val_1", "val_2"}
    files = sorted((resumed / "wandb").glob("offline-run-*/files"))[0]
    row = next(row for row in first if "predictions/val_0/path" in row)
    truth, prediction, error = (
        np.asarray(Image.open(files / row[f"{key}/path"]))
        for key in (
            "pictures/val_0/masks/truth",
            *(f"predictions/val_0/masks/{kind}" for kind in ("prediction", "error")),
        )
    )
    wrong = (prediction != truth) & (truth != IGNORE_INDEX)
    assert wrong.any()
    np.testing.assert_array_equal(error, np.where(wrong, prediction, IGNORE_INDEX))
    root = Path(RunFolder(resumed).read_config()["data"]["init_args"]["root"])
    labels = np.asarray(Image.open(root / "valannot" / "val_0.png"))
    np.testing.assert_array_equal(truth, np.where(labels == 11, IGNORE_INDEX, labels))


def test_resumed_parts_sync_to_one_run(resumed):
    first, second = parts(resumed)
    assert first["id"] == second["id"]
    environment = os.environ | {"WANDB_API_KEY": "0" * 40}
    with wandb_server() as server:
        command = [sys.executable, "-m", "wandb", "sync", resumed / "wandb"]
        environment["WANDB_BASE_URL"] = server.url
        done = subprocess.run(command, env=environment, cwd=resumed.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert server.run == first["id"]
    assert [row["_step"] for row in server.rows] == list(range(len(first["history"]) + len(second["history"])))
    steps = [row["trainer/global_step"] for row in server.rows if "train/loss" in row]
    assert steps == list(range(6))
    best = max(row["val/miou"] for row in server.rows if "val/miou" in row)
    assert json.loads(server.summary)["val/miou"] == {"max": pytest.approx(best)}


def test_failed_run_is_no_success(fake_camvid, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = [*fit_options(fake_camvid, tmp_path / "runs"), "--trainer.logger=WandbLogger", "--pictures=0"]
    stopping = [
        "--trainer.callbacks=EarlyStopping",
        "--trainer.callbacks.monitor=val/nothing",
        "--trainer.logger.name=it",
    ]
    done = refinenet_process(tmp_path, "fit", *options, *stopping, "--trainer.max_epochs=1")
    assert done.returncode == 2, done.stderr
    assert "val/nothing" in done.stderr
    logged = read_offline_run(only_run(tmp_path / "runs") / "wandb")
    assert [row for row in logged["history"] if "val/miou" in row]
    assert (logged["exit"], logged["name"]) == (1, "it")
    assert "W&B: as configured; this run stays offline" in done.stdout
