"""The progress bar ends with its block."""

import threading

import pytest

from refinenet_pl.progress import track


def test_items_pass():
    with track((letter for letter in "abc"), "reading", 3) as letters:
        assert list(letters) == ["a", "b", "c"]


@pytest.fixture
def terminal(monkeypatch):
    """Make rich take the streams for terminals."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)


def test_bar_ends_when_the_loop_raises(terminal):
    before = set(threading.enumerate())
    bar = set()

    def fail():
        with track("abc", "reading") as letters:
            for letter in letters:
                bar.update(set(threading.enumerate()) - before)
                raise ValueError(letter)

    with pytest.raises(ValueError, match="a") as raised:  # holds the frames of the loop, as a notebook does
        fail()
    assert bar  # the thread that redraws the bar
    for thread in bar:
        thread.join(10)
        assert not thread.is_alive()
    assert raised.traceback


def test_bar_is_on_the_error_stream(terminal, capsys):
    with track("ab", "reading letters") as letters:
        list(letters)
    captured = capsys.readouterr()
    assert "reading letters" in captured.err
    assert captured.out == ""


def test_without_a_terminal_there_is_no_output(monkeypatch, capsys):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with track("ab", "reading letters") as letters:
        list(letters)
    assert capsys.readouterr() == ("", "")


def test_command_of_a_notebook_has_no_bar(terminal, monkeypatch, capsys):
    monkeypatch.setenv("JPY_PARENT_PID", "1")  # what Jupyter sets for kernels, and so for the commands in them
    with track("ab", "reading letters") as letters:
        list(letters)
    assert capsys.readouterr() == ("", "")
