"""The sweep file of a study follows W&B's schema and spans the study's cells."""

import json
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import jsonschema
import pytest
import yaml
from helpers.commands import fit_options, only_run, refinenet, refinenet_process
from helpers.fake_data import make_camvid
from helpers.tiny_study import NETWORK, write_datasets_study, write_yaml
from helpers.wandb_reader import read_offline_run

from refinenet_pl.errors import UserError
from refinenet_pl.studies.commands import cell_groups
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.study import Study, row_name
from refinenet_pl.studies.sweep import sweep, write_sweep

FACTORS = {
    "pooling": {"none": {}, "original": {"model.pooling": "original"}, "no": {"model.pooling": "no"}},
    "learning_rate": {"1e-3": {"model.lr": 1e-3}, "high": {"model.lr": 1e-2}},
}
ROWS = [{"pooling": "none", "learning_rate": "high"}, {"pooling": "original", "learning_rate": "1e-3"}]


@pytest.fixture(scope="module")
def schema() -> dict:
    """Return W&B's schema. The package is not imported, because it needs an older numpy than this project."""
    package = find_spec("sweeps")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the package `sweeps` is not installed: pip install --no-deps sweeps")
    return json.loads((Path(package.submodule_search_locations[0]) / "config" / "schema.json").read_text())


def make_study(folder: Path, logger: object = None, **content: object) -> Study:
    base = {"model": {"network": NETWORK}, "data": {"class_path": "CamVidDataModule"}, "trainer": {"logger": logger}}
    write_yaml(folder / "base.yaml", base)
    study = {"base": "base.yaml", "image_size": [48, 64], "factors": FACTORS, "seeds": [0, 7], **content}
    return load_study(write_yaml(folder / "pooled.yaml", study))


def written(study: Study, *options: str) -> dict:
    """Return a sweep as W&B reads it."""
    path = study.path.with_name("sweep.yaml")
    write_sweep(path, sweep(study, options))
    return yaml.safe_load(path.read_text())


def spanned(content: dict) -> list[dict]:
    """Return every combination of the values of a grid."""
    values = {name: parameter["values"] for name, parameter in content["parameters"].items()}
    return [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]


def as_sets(dicts: list[dict]) -> list[list]:
    return sorted(sorted(entry.items()) for entry in dicts)


@pytest.mark.parametrize("rows", [None, ROWS])
def test_file_follows_the_schema(schema, rows, tmp_path):
    logger = {"class_path": "WandbLogger", "init_args": {"project": "pools"}}
    content = written(make_study(tmp_path, logger, rows=rows))
    jsonschema.validate(content, schema)
    assert (content["method"], content["project"]) == ("grid", "pools")


def test_schema_refuses_other_files(schema, tmp_path):
    content = written(make_study(tmp_path))
    for broken in ({"method": "gird"}, {"parameters": {"seed": {"value": [0], "values": []}}}, {"unknown": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content | broken, schema)


def test_grid_spans_the_cells(tmp_path):
    study = make_study(tmp_path)
    expected = [{**cell.levels, "seed": cell.seed} for cell in study.cells]
    assert len(expected) == 12
    assert as_sets(spanned(written(study))) == as_sets(expected)


def test_listed_rows_span_the_cells(tmp_path):
    study = make_study(tmp_path, rows=ROWS)
    expected = [{"row": row_name(cell.levels), "seed": cell.seed} for cell in study.cells]
    assert len(expected) == 4
    assert as_sets(spanned(written(study))) == as_sets(expected)


@pytest.mark.parametrize("rows", [None, [{"pooling": "none"}]])
def test_dataset_is_a_parameter(schema, rows, tmp_path):
    study = load_study(write_datasets_study(tmp_path, rows=rows, seeds=[0, 7]))
    content = written(study)
    jsonschema.validate(content, schema)
    assert content["parameters"]["dataset"] == {"values": ["camvid", "person_part"]}
    # Each combination selects one cell.
    selected = [
        cell_groups(study, tmp_path, {}, {name: str(value) for name, value in combination.items()})
        for combination in spanned(content)
    ]
    names = [cell.name for groups in selected for group in groups for cell in group.cells]
    assert sorted(names) == sorted(cell.name for cell in study.cells)


def test_agents_pass_the_options(tmp_path):
    study = make_study(tmp_path)
    content = written(study, "--runs", "elsewhere")
    path = str(tmp_path / "pooled.yaml")
    assert content["command"] == [
        "refinenet", "study", "run", path, "--runs", "elsewhere", "--only", "${args_no_hyphens}",
    ]  # fmt: skip
    assert "project" not in content


def test_command_writes_the_options(tmp_path, monkeypatch, capsys):
    study = make_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert refinenet(monkeypatch, "study", "sweep", study.path, "--runs=r", "--trainer.max_time", "24:00:00:00") == 0
    assert "wandb sweep pooled_sweep.yaml" in capsys.readouterr().out
    command = yaml.safe_load((tmp_path / "pooled_sweep.yaml").read_text())["command"]
    assert command[4:] == ["--runs", "r", "--trainer.max_time=24:00:00:00", "--only", "${args_no_hyphens}"]


def test_factor_name_is_refused(tmp_path):
    study = make_study(tmp_path, factors={"kind of pooling": {"none": {}}})
    with pytest.raises(UserError, match="kind of pooling"):
        sweep(study)


def test_agents_run_has_its_given_id(tmp_path, monkeypatch):
    given = {"MODE": "offline", "SWEEP_ID": "sweep1", "RUN_ID": "given1", "DIR": str(tmp_path), "NAME": "mine"}
    for name, value in given.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    done = refinenet_process(
        tmp_path, "fit", *fit_options(make_camvid(tmp_path / "camvid"), tmp_path / "runs"), "--trainer.max_epochs=1",
        "--trainer.logger=WandbLogger", "--trainer.logger.project=trial",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    logged = read_offline_run(only_run(tmp_path / "runs") / "wandb")
    assert (logged["id"], logged["name"]) == ("given1", "mine")


SWEEPS = sorted((Path(__file__).parents[1] / "experiments" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_sweep_files_train(path, schema, monkeypatch, capsys):
    """The command parses with the extremes of each parameter, which reach the configuration."""
    content = yaml.safe_load(path.read_text())
    jsonschema.validate(content, schema)
    monkeypatch.chdir(path.parents[2])
    *command, arguments = content["command"]
    assert (command[0], arguments) == ("refinenet", "${args}")
    for end in ("min", "max"):
        choose = {"min": min, "max": max}[end]
        chosen = {key: each.get(end, choose(each.get("values", [0]))) for key, each in content["parameters"].items()}
        words = [*command[1:], *(f"--{key}={value}" for key, value in chosen.items()), "--print_config"]
        with pytest.raises(SystemExit) as done:
            refinenet(monkeypatch, *words)
        assert done.value.code == 0
        config = yaml.safe_load(capsys.readouterr().out)
        assert config["trainer"]["logger"]["class_path"].endswith("WandbLogger")
        assert setting(config, next(iter(chosen))) == yaml.safe_load(str(next(iter(chosen.values()))))


def setting(config: dict, key: str) -> object:
    """Return a setting by its option."""
    for name in key.split("."):
        config = config.get("init_args", config)[name]
    return config
