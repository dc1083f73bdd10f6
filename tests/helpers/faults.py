"""A catalogue of bad inputs: what a row holds, and what is expected of every row."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from helpers.commands import refinenet


class BadInput(NamedTuple):
    """A command that cannot work.

    Attributes:
        name: A few words; the name of the test.
        command: Command and options. "{fit}" stands for the options of a small training, "{data}" for its data set,
            and "{run}" for the folder of a finished run.
        words: Each must appear in the message.
        status: The exit status.
        files: Files in the current folder, by name.
        prepare: Changes the current folder before `files` are written.
        environment: Variables to set; None removes one.
        trains: Whether training starts, so that a new run folder appears.
    """

    name: str
    command: str
    words: tuple[str, ...]
    status: int = 2
    files: Mapping[str, str | bytes] = MappingProxyType({})
    prepare: Callable[[Path], object] | None = None
    environment: Mapping[str, str | None] = MappingProxyType({})
    trains: bool = False


def check(
    row: BadInput,
    stand_ins: dict[str, list[str]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run a row's command in a folder: one message, the expected status, and no file is changed or left over."""
    monkeypatch.chdir(folder)
    if row.prepare is not None:
        row.prepare(folder)
    for name, content in row.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for name, value in row.environment.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    before = contents(folder)
    words = [option for word in row.command.split(" ") for option in stand_ins.get(word, [word])]
    for name, options in stand_ins.items():
        words = [word.replace(name, options[0]) for word in words]
    status = refinenet(monkeypatch, *words)
    message = capsys.readouterr().err.rpartition("refinenet: error: ")[2]
    assert status == row.status, message
    for word in row.words:
        assert word in message
    assert len(message.splitlines()) < 24
    assert "Traceback" not in message
    after = contents(folder)
    assert {name: after.get(name, "gone") for name in before} == before
    if not row.trains:
        assert after == before


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return all that is below a folder: the content of each file; None for a folder, a broken link and the like."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
