"""A study's report for W&B: what is built and uploaded, without W&B's server."""

import json

import pytest
import yaml
from helpers.commands import refinenet, refinenet_process
from helpers.fake_study import finish, write_study
from helpers.wandb_server import wandb_server

from refinenet_pl.reports import wandb_report


@pytest.fixture
def study(tmp_path):
    """The file of a finished study that logs to W&B's project `trial`."""
    path = write_study(tmp_path)
    finish(path, tmp_path / "runs")
    base = yaml.safe_load((tmp_path / "base.yaml").read_text())
    logger = {"class_path": "WandbLogger", "init_args": {"project": "trial"}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**base, "trainer": {"logger": logger}}))
    return path


def test_report_has_tables_and_charts(study, monkeypatch):
    folder = study.parent
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        done = refinenet_process(folder, "study", "report", study, "--runs", folder / "runs", "--wandb")
    assert done.returncode == 0, done.stderr[-3000:]
    (uploaded,) = server.reports
    assert (uploaded["projectName"], uploaded["entityName"]) == ("trial", "e"), "the entity is that of the login"
    assert f"W&B report: {server.url}/e/trial/reports/pooling_study--" in done.stdout
    blocks = json.loads(uploaded["spec"])["blocks"]
    (text,) = [block["content"] for block in blocks if block["type"] == "markdown-block"]
    written = (folder / "runs" / "pooling_study" / "report" / "report.md").read_text()
    assert text == "\n".join(line for line in written.splitlines() if not line.startswith("!["))
    assert "| improved |" in text
    (grid,) = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    panels = json.dumps(grid)
    assert all(json.dumps(name) in panels for name in ("val/miou", "val/loss", "train/loss", "final/miou"))
    (runs,) = grid["runSets"]
    assert (runs["project"]["name"], runs["project"]["entityName"]) == ("trial", "e")
    (kept,) = runs["filters"]["filters"]
    assert (kept["key"], kept["op"], kept["value"]) == ({"section": "config", "name": "study"}, "=", "pooling_study")


def test_missing_package_is_told_before_the_report(study, monkeypatch, capsys):
    monkeypatch.setattr(wandb_report, "find_spec", lambda name: None)
    assert refinenet(monkeypatch, "study", "report", study, "--runs", study.parent / "runs", "--wandb") == 2
    assert "pip install 'refinenet-pl[wandb-reports]'" in capsys.readouterr().err
    assert not (study.parent / "runs" / "pooling_study" / "report").exists()


def test_study_without_wandb_is_refused(tmp_path, monkeypatch, capsys):
    path = write_study(tmp_path)
    assert refinenet(monkeypatch, "study", "report", path, "--runs", tmp_path / "runs", "--wandb") == 2
    assert "log to no project of W&B" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "told"),
    [("0" * 40, "--wandb: no answer from http://127.0.0.1:9; try again"), (None, "--wandb: not logged in to W&B; run")],
)
def test_missing_server_is_told_before_the_report(key, told, study, monkeypatch):
    folder = study.parent
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(folder))  # without the user's login
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    done = refinenet_process(folder, "study", "report", study, "--runs", folder / "runs", "--wandb")
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert not (folder / "runs" / "pooling_study" / "report").exists()
