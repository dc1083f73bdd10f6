"""A pickle that runs code when it is read."""

from pathlib import Path
from typing import Any


class Bomb:
    """Pickles to a call that creates a file when the pickle is read without weights_only."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.victim), "w"))
