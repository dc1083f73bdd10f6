"""Files that try to run code: a pickle, and a configuration that names a class whose call creates a file."""

from pathlib import Path
from typing import Any


class Bomb:
    """Pickles to a call that creates a file when the pickle is read without weights_only."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.victim), "w"))


TOUCH = "subprocess.Popen"


def touch(victim: Path) -> dict[str, Any]:
    """Return a specification of a class, as configurations have them, whose instance creates a file."""
    return {"class_path": TOUCH, "init_args": {"args": ["touch", str(victim)]}}


NETWORK_MODULE = '''
import sys
from pathlib import Path

from refinenet_pl.networks import LightWeightRefineNet

Path(__file__).with_name("imported").touch()


class Network(LightWeightRefineNet):
    """A network of a user's own."""
'''
"""A module that creates the file `imported` beside itself when it is imported."""
