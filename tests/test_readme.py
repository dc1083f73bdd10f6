"""The README is code: its Python runs, its commands parse, its paths exist."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from helpers.commands import refinenet

from refinenet_pl.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    """The words after `refinenet` of every command in the README."""
    lines = [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    starts = [max((line.index(name) for name in ("refinenet", "refinenet_pl") if name in line), default=None)
              for line in words]  # fmt: skip
    return [line[start + 1 :] for line, start in zip(words, starts, strict=True) if start is not None]


EXPERIMENTS = [command for command in commands() if command[0] == "fit" and "--config" in command]
OTHERS = [command for command in commands() if command not in EXPERIMENTS and command[0] in COMMANDS]


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs(block):
    exec(compile(block, "README.md", "exec"), {})


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with the experiments, and with the class weights that one of the commands takes."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    weights = {"class_path": "CrossEntropy", "init_args": {"class_weights": [1.0] * 11}}
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump({"model": {"loss": weights}}))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", EXPERIMENTS, ids=" ".join)
def test_training_command_parses(command, checkout, monkeypatch, capsys):
    with pytest.raises(SystemExit) as done:
        refinenet(monkeypatch, *command, "--print_config")
    assert done.value.code in (0, None)
    assert "class_path" in capsys.readouterr().out


@pytest.mark.parametrize("command", OTHERS, ids=" ".join)
def test_options_of_other_commands_exist(command, monkeypatch, capsys):
    words = [word for word in command[:2] if not word.startswith("-")][: 2 if command[0] in ("weights", "study") else 1]
    with pytest.raises(SystemExit):
        refinenet(monkeypatch, *words, "--help")
    shown = capsys.readouterr().out
    for option in [word for word in command if word.startswith("--")]:
        known = option if option.startswith(("--model.inference", "--inference")) else option.split(".")[0]
        assert re.search(rf"{re.escape(known)}\b", shown), option


def test_there_are_commands_to_check():
    assert len(EXPERIMENTS) >= 6
    assert {command[0] for command in OTHERS} >= {
        "validate",
        "predict",
        "compare",
        "weights",
        "class-weights",
        "benchmark",
        "study",
    }


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", README, flags=re.MULTILINE)) <= targets


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:refinenet_pl|experiments|tests)/[\w./-]*)`", README))))
def test_named_path_exists(path):
    if path != "refinenet_pl/data/mydata.py":  # the reader writes it
        assert (ROOT / path).exists()


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--(?:trainer|model|data)\.[\w.]+) (\w+)", README))))
def test_named_option_exists(option, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    name, value = option
    value = "null" if value == "FILE" else value
    experiment = ROOT / "experiments" / "voc" / "lightweight_resnet50_voc.yaml"
    with pytest.raises(SystemExit) as done:
        refinenet(monkeypatch, "fit", "--config", experiment, f"{name}={value}", "--print_config")
    assert done.value.code in (0, None), capsys.readouterr().err
