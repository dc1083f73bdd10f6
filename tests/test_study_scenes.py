"""The study of the README runs and gives a report: as it is in the slow tests, with fewer steps in the fast ones."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import refinenet_process

STUDY = Path(__file__).parents[1] / "experiments" / "studies" / "chained_pooling_scenes.yaml"


SHORT = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=40", "--trainer.limit_val_batches=4"]


@pytest.fixture(scope="module", params=[SHORT, pytest.param([], marks=pytest.mark.slow)], ids=["short", "whole"])
def options(request):
    return request.param


@pytest.fixture(scope="module")
def folder(options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    done = refinenet_process(folder, "study", "run", STUDY, "--devices=2", f"--data.root={folder}/scenes", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    done = refinenet_process(folder, "study", "report", STUDY)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs" / "chained_pooling_scenes"


def test_report_has_the_metrics_of_runs(folder, options):
    with (folder / "report" / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["pooling"] for row in rows] == ["none", "original", "improved"]
    miou = {}
    for row in rows:
        (path,) = folder.glob(f"pooling-{row['pooling']}_seed-0/*/results.json")
        matrix = np.array(json.loads(path.read_text())["confusion_matrix"])
        correct = np.diag(matrix)
        miou[row["pooling"]] = (correct / (matrix.sum(0) + matrix.sum(1) - correct)).mean()
        assert float(row["mean"]) == pytest.approx(miou[row["pooling"]], rel=1e-12)
    assert options or min(miou.values()) > 0.1  # a network that predicts one class everywhere has less than 0.1
    for row in rows[1:]:
        assert float(row["difference"]) == pytest.approx(miou[row["pooling"]] - miou["none"], abs=1e-12)
        assert float(row["difference_low"]) <= float(row["difference"]) <= float(row["difference_high"])
        assert float(row["gflops"]) > float(rows[0]["gflops"])
        assert float(row["parameters"]) > float(rows[0]["parameters"])


def test_report_has_all_formats(folder):
    names = {path.name for path in (folder / "report").iterdir()}
    assert {"report.md", "report.csv", "report.tex", "report.html"} <= names
    assert {path.suffix for path in (folder / "report").iterdir()} >= {".png", ".pdf"}
