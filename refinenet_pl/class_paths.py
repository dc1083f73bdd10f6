"""The classes that a configuration names."""

from collections.abc import Mapping
from typing import Any


def class_paths(config: Any) -> set[str]:
    """Return the paths of all classes that a configuration names."""
    if isinstance(config, Mapping):
        named = {config["class_path"]} if isinstance(config.get("class_path"), str) else set()
        return named.union(*map(class_paths, config.values()))
    return set().union(*map(class_paths, config)) if isinstance(config, list) else set()
