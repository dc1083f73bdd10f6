"""The short help and `list`: what they name exists, all of it is named, and torch stays out."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.commands import refinenet
from helpers.tiny_study import write_yaml
from torch import nn

from refinenet_pl import data, networks
from refinenet_pl.cli import catalog
from refinenet_pl.cli.short_help import OPTIONS, USAGES
from refinenet_pl.cli.training import run_name
from refinenet_pl.training import losses

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
CONFIGS = [EXPERIMENTS / "datasets" / "scenes.yaml", EXPERIMENTS / "recipes" / "quickstart.yaml"]
LOSSES = [
    name
    for name, value in vars(losses).items()
    if inspect.isclass(value) and issubclass(value, nn.Module) and "forward" in vars(value) and name != "Tensor"
]


def output(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a new process that ends with status 99 if torch was loaded."""
    code = (
        f"import sys; from refinenet_pl.cli.main import main; status = main({[*args]}); "
        "sys.exit(99 if 'torch' in sys.modules else status)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", USAGES)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_short(command, option):
    done = output(command, option)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) < 60
    assert max(map(len, lines)) <= 110
    assert lines[0].startswith(f"usage: refinenet {command} --")


def test_help_of_fit_names_all_classes_and_recipes(monkeypatch, capsys):
    assert refinenet(monkeypatch, "fit", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"networks: {', '.join(networks.__all__)}, segmentation_models_pytorch.NAME losses:" in text
    assert f"losses: {', '.join(LOSSES)} data modules:" in text
    modules = sorted(name for name in data.__all__ if name != "SegmentationDataModule")
    assert f"data modules: {', '.join(modules)} recipes:" in text
    recipes = sorted(path.stem for path in (EXPERIMENTS / "recipes").glob("*.yaml"))
    assert f"recipes: {', '.join(recipes)} refinenet list" in text
    assert f"runs/{run_name(CONFIGS)}/TIME" in text


@pytest.mark.parametrize("command", USAGES)
def test_each_option_sets_its_key(command, tmp_path, monkeypatch, capsys):
    given = {
        option.name.split()[0].removeprefix("--"): option.example
        for option in OPTIONS
        if command in option.commands and option.example
    }
    words = [word for key, value in given.items() for word in (f"--{key}", value)]
    model = {"model": yaml.safe_load(CONFIGS[1].read_text())["model"]}  # a prediction has no data section
    files = [write_yaml(tmp_path / "model.yaml", model)] if command == "predict" else CONFIGS
    configs = [word for path in files for word in ("--config", path)]
    with pytest.raises(SystemExit) as ended:
        refinenet(monkeypatch, command, *configs, *words, "--print_config")
    assert ended.value.code == 0, capsys.readouterr().err
    config = yaml.safe_load(capsys.readouterr().out)
    for key, value in given.items():
        found = config
        for part in key.split("."):
            found = found[part] if part in found else found["init_args"][part]
        expected = yaml.safe_load(value)
        if isinstance(found, dict):
            assert found["class_path"].endswith(f".{expected}"), key
        elif key == "images":
            assert found == [expected]
        else:
            assert str(found) == str(expected), key


@pytest.mark.parametrize("command", USAGES)
def test_command_without_options_says_what_to_give(command):
    done = output(command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"refinenet: error: {command} needs options: refinenet {command} --")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", ["recipes", "datasets"])
def test_experiments_are_listed(kind):
    done = output("list", kind)
    assert done.returncode == 0
    listed = done.stdout.partition("\n\n")[0].splitlines()
    files = sorted((EXPERIMENTS / kind).glob("*.yaml"))
    assert [line.split()[0] for line in listed] == [path.stem for path in files]
    assert all(len(line.split()) > 3 for line in listed)


@pytest.mark.parametrize(("kind", "names"), [("networks", networks.__all__), ("losses", LOSSES)])
def test_classes_are_listed(kind, names):
    done = output("list", kind)
    assert done.returncode == 0
    listed = done.stdout.partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == [*names]
    assert all(len(line.split()) > 3 for line in listed)


def test_encoders_are_listed(monkeypatch, capsys):
    assert refinenet(monkeypatch, "list", "encoders") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["mobilenet_v2", "imagenet"] for line in lines)
    assert any(line.split()[:1] == ["resnet101"] for line in lines)


@pytest.mark.parametrize("words", [["nets"], ["losses", "recipes"]])
def test_other_lists_are_a_mistake(words):
    done = output("list", *words)
    assert done.returncode == 2
    assert "expected one of recipes|datasets|networks|losses|encoders" in done.stderr


def test_recipes_need_the_repository(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalog, "PACKAGE", Path(catalog.__file__).parents[1])
    assert refinenet(monkeypatch, "list", "recipes") == 0, "beside the package"
    capsys.readouterr()
    monkeypatch.setattr(catalog, "PACKAGE", tmp_path / "site-packages" / "refinenet_pl")
    assert refinenet(monkeypatch, "list", "recipes") == 2
    assert "no folder experiments/recipes here; expected a clone" in capsys.readouterr().err


def test_missing_sections_are_named_as_options(monkeypatch, capsys):
    assert refinenet(monkeypatch, "fit", "--config", CONFIGS[0]) == 2
    assert "no value for model.network; give it in a file of --config or as an option" in capsys.readouterr().err


def test_recipe_alone_has_no_dataset(monkeypatch, capsys):
    assert refinenet(monkeypatch, "fit", "--config", CONFIGS[1]) == 2
    assert "error: data: no dataset; give the yaml of a dataset with --config, before" in capsys.readouterr().err
