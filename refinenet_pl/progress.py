"""Progress bars on the standard error stream, in terminals and notebooks. In a log file they would be empty lines."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import length_hint
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

Item = TypeVar("Item")


def can_redraw(console: Console) -> bool:
    """Return whether a console shows a bar that is drawn again and again: a terminal, or a cell of a notebook.

    With FORCE_COLOR, as in the commands that a notebook starts, rich takes also a pipe for a terminal.
    """
    return console.is_jupyter or console.file.isatty()


def progress_bars() -> Progress:
    """Return rich's progress bars, which disappear when their `with` block ends."""
    console = Console(stderr=True)
    return Progress(transient=True, console=console, disable=not can_redraw(console))


@contextmanager
def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Iterator[Item]]:
    """Show a progress bar, and yield an iterator over the items that advances it.

    If the body of a loop over rich's own `track` raises, the bar runs on until Python collects it: the cursor stays
    hidden, and a second bar can wait for the first one forever. This bar ends with the `with` block.

    Args:
        items: What the block iterates over.
        description: What the bar says.
        total: Number of items. None: their length, if they have one.
    """
    with progress_bars() as progress:
        task = progress.add_task(description, total=total or length_hint(items) or None)

        def advancing() -> Iterator[Item]:
            for item in items:
                yield item
                progress.advance(task)

        yield advancing()
