"""The progress bar ends with its block."""

import sys
import threading

import pytest

from refinenet_pl.progress import track


def test_items_pass():
    with track((letter for letter in "abc"), "reading", 3) as letters:
        assert list(letters) == ["a", "b", "c"]


@pytest.fixture
def terminal(capsys, monkeypatch):
    """Make the captured streams terminals."""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda stream: True)


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


@pytest.mark.parametrize("colors", ["", "1"])
def test_without_a_terminal_there_is_no_output(colors, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", colors)  # notebooks and some CI servers set it for a pipe
    with track("ab", "reading letters") as letters:
        list(letters)
    assert capsys.readouterr() == ("", "")
