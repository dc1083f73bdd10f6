"""The README is code: its Python runs, its commands parse, its paths exist."""

import re
import shlex
from pathlib import Path

import pytest
from commands import refinenet

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def fit_commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    starts = [(line, max(line.index(word) for word in ("refinenet", "refinenet_pl") if word in line)) for line in words
              if {"refinenet", "refinenet_pl"} & set(line) and "fit" in line]  # fmt: skip
    return [line[start + 1 :] for line, start in starts]


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs(block):
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("command", [c for c in fit_commands() if "--config" in c], ids=" ".join)
def test_command_parses(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as done:
        refinenet(monkeypatch, *command, "--print_config")
    assert done.value.code in (0, None)
    assert "class_path" in capsys.readouterr().out


def test_there_are_commands_to_check():
    assert len([c for c in fit_commands() if "--config" in c]) >= 5


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
