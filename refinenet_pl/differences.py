"""Where configurations differ, key by key."""

from collections.abc import Mapping, Sequence
from typing import Any

KeyPath = tuple[str | int, ...]
"""The names and list indices that lead to a value."""


def differences(
    expected: Mapping[str, Any], found: Mapping[str, Any], both_complete: bool = False
) -> dict[str, tuple[Any, Any]]:
    """Return where a configuration differs from another one.

    Args:
        expected: Nested mappings and lists of plain values. Only its keys are compared.
        found: The configuration to compare with it.
        both_complete: The command line has written both, with all defaults. Then 1 and 1.0 differ, as they do for
            `trainer.limit_train_batches`, and names that only `found` has count where the user chooses the names.
            Elsewhere they are options of a later version.

    Returns:
        The expected and the found value by dotted key, such as "data.init_args.batch_size".
    """
    return {_dotted(path): pair for path, pair in _differences(expected, found, (), both_complete)}


def differing_values(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return where several complete configurations are not all the same.

    Args:
        configs: One configuration or more.

    Returns:
        The values of each configuration by dotted key; a list of plain values is one value. A configuration lacks the
        keys that it does not have, such as arguments of another class.
    """
    first = configs[0]
    pairs = [pair for other in configs[1:] for pair in ((first, other), (other, first))]
    found = dict.fromkeys(_without_index(path) for pair in pairs for path, _ in _differences(*pair, (), True))
    # A section that is missing in one configuration differs as a whole.
    paths = [path for path in found if not any(path[:length] in found for length in range(1, len(path)))]
    return [{_dotted(path): value for path in paths for value in _value_at(path, config)} for config in configs]


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def _without_index(path: KeyPath) -> KeyPath:
    return _without_index(path[:-1]) if isinstance(path[-1], int) else path


def _value_at(path: KeyPath, config: Any) -> list[Any]:
    """Return the value at a path, alone in a list; an empty list if there is none."""
    for name in path:
        names = config if isinstance(config, dict) else range(len(config)) if isinstance(config, list) else ()
        if name not in names:
            return []
        config = config[name]
    return [config]


def _differences(expected: Any, found: Any, path: KeyPath, complete: bool) -> list[tuple[KeyPath, tuple[Any, Any]]]:
    if isinstance(expected, dict) and isinstance(found, dict):
        free = _has_free_names(expected, path)
        added = [name for name in found if name not in expected and (free or name == "dict_kwargs")] if complete else []
        both = [((*path, name), expected.get(name), found.get(name)) for name in (*expected, *added)]
        return [pair for each, old, new in both for pair in _differences(old, new, each, complete)]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        items = enumerate(zip(expected, found, strict=True))
        return [pair for index, both in items for pair in _differences(*both, (*path, index), complete)]
    if path[-1] == "class_path" and _same_class(str(expected), str(found)):
        return []
    return [] if _same(expected, found, complete) else [(path, (expected, found))]


def _has_free_names(section: Mapping[str, Any], path: KeyPath) -> bool:
    """Return whether the user chooses the names in a section: it is dict_kwargs, or an argument that is a mapping."""
    return not {"init_args", "dict_kwargs"}.isdisjoint(path) and path[-1] != "init_args" and "class_path" not in section


def _same_class(expected: str, found: str) -> bool:
    """Compare the paths of two classes. One may lack the module, or name another module of the same package."""
    same_package = "." not in expected or "." not in found or expected.split(".")[0] == found.split(".")[0]
    return expected.split(".")[-1] == found.split(".")[-1] and same_package


def _same(expected: Any, found: Any, complete: bool) -> bool:
    """Compare a number and a string as numbers.

    YAML reads 1e-3 as a string, and the run's configuration holds 0.001. The command line saves devices=2 as "2".
    """
    if isinstance(expected, str) == isinstance(found, str) or isinstance(expected, bool) or isinstance(found, bool):
        return bool(expected == found) and (type(expected) is type(found) or not complete)
    try:
        return float(expected) == float(found)
    except (TypeError, ValueError):
        return False
