"""The classes that a configuration names."""

from collections.abc import Mapping
from typing import Any


def class_paths(config: Any) -> set[str]:
    """Return the paths of all classes that a configuration names, with `class_path` or as text alone."""
    if isinstance(config, str):
        return {config} if is_class_path(config) else set()
    if isinstance(config, Mapping):
        named = {config["class_path"]} if isinstance(config.get("class_path"), str) else set()
        return named.union(*map(class_paths, config.values()))
    return set().union(*map(class_paths, config)) if isinstance(config, list) else set()


def is_class_path(text: str) -> bool:
    """Return whether a text can be the path of a class, such as package.module.Class."""
    return "." in text and all(part.isidentifier() for part in text.split("."))
