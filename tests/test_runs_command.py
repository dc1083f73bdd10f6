"""`refinenet runs`, against the files of real trainings."""

import csv
import json
from pathlib import Path

import pytest
from helpers.commands import fit_options, refinenet


@pytest.fixture(scope="module")
def folder(fake_camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of one epoch, of which one has another rate and another pooling, and a stopped run."""
    runs = tmp_path_factory.mktemp("listed") / "runs"
    changes = {"a": [], "b": [], "c": ["--model.optimizer.lr=0.25", "--model.network.pooling=null"]}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for experiment, options in changes.items():
            words = [*fit_options(fake_camvid, runs), f"--experiment={experiment}", "--trainer.max_epochs=1"]
            assert refinenet(monkeypatch, "fit", *words, *options) == 0
    stopped = runs / "d" / "20200101-000000-0000"
    stopped.mkdir(parents=True)
    stopped.joinpath("config.yaml").write_text((next((runs / "a").iterdir()) / "config.yaml").read_text())
    return runs


def listed(folder, monkeypatch, capsys, *options):
    capsys.readouterr()
    assert refinenet(monkeypatch, "runs", folder, "--json", *options) == 0
    return json.loads(capsys.readouterr().out)


def test_records_are_those_of_the_files(folder, monkeypatch, capsys):
    records = {each["run"].split("/")[0]: each for each in listed(folder, monkeypatch, capsys)}
    assert [*records] == ["d", "a", "b", "c"], "the oldest first"
    for name in "abc":
        (run,) = (folder / name).iterdir()
        results = json.loads((run / "results.json").read_text())
        assert records[name]["run"] == f"{name}/{run.name}"
        assert records[name]["miou"] == results["miou"]
        assert records[name]["seconds"] == results["seconds"]
        with (run / "metrics.csv").open(newline="") as file:
            steps = [int(row["step"]) + 1 for row in csv.DictReader(file) if row["val/miou"]]
        assert [records[name]["best_step"]] == [records[name]["last_step"]] == steps
        assert (records[name]["state"], records[name]["split"]) == ("finished", "val")
    assert (records["d"]["state"], records["d"]["miou"], records["d"]["seconds"]) == ("not finished", None, None)
    assert records["a"]["settings"] == records["b"]["settings"] == records["d"]["settings"]
    assert {key: (records["a"]["settings"][key], value) for key, value in records["c"]["settings"].items()} == {
        "model.optimizer.lr": (0.001, 0.25),
        "model.network.pooling": ("original", None),
    }


def test_table_shows_what_is_unusual(folder, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    capsys.readouterr()
    assert refinenet(monkeypatch, "runs", folder) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {name: next(line for line in lines if line.startswith(f"│ {name}/")) for name in "abcd"}
    assert any("model.optimizer.lr: 0.25" in line for line in lines)
    assert "model.network.pooling: None" in rows["c"]
    assert not any("model." in rows[name] for name in "abd")
    assert "not finished" in rows["d"]


@pytest.mark.parametrize(("sort", "key", "sign"), [("miou", "miou", -1), ("time", "seconds", -1), ("name", "run", 1)])
def test_runs_are_sorted(sort, key, sign, folder, monkeypatch, capsys):
    values = [each[key] for each in listed(folder, monkeypatch, capsys, "--sort", sort)]
    if sign < 0:
        values = [-(value or 0) for value in values]
    assert values == sorted(values)


def test_folder_without_runs(tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "runs", tmp_path) == 2
    assert f"{tmp_path}: found no run; expected folders with config.yaml" in capsys.readouterr().err
