"""Where two configurations differ, key by key."""

from collections.abc import Mapping
from typing import Any


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
    return dict(_differences(expected, found, "", both_complete))


def _differences(expected: Any, found: Any, key: str, complete: bool) -> list[tuple[str, tuple[Any, Any]]]:
    if isinstance(expected, dict) and isinstance(found, dict):
        free = _has_free_names(expected, key)
        added = [name for name in found if name not in expected and (free or name == "dict_kwargs")] if complete else []
        both = [(f"{key}.{name}".lstrip("."), expected.get(name), found.get(name)) for name in (*expected, *added)]
        return [pair for path, old, new in both for pair in _differences(old, new, path, complete)]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        items = enumerate(zip(expected, found, strict=True))
        return [pair for index, both in items for pair in _differences(*both, f"{key}.{index}", complete)]
    if key.endswith("class_path") and _same_class(str(expected), str(found)):
        return []
    return [] if _same(expected, found, complete) else [(key, (expected, found))]


def _has_free_names(section: Mapping[str, Any], key: str) -> bool:
    """Return whether the user chooses the names in a section: it is dict_kwargs, or an argument that is a mapping."""
    parts = key.split(".")
    return (
        not {"init_args", "dict_kwargs"}.isdisjoint(parts) and parts[-1] != "init_args" and "class_path" not in section
    )


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
