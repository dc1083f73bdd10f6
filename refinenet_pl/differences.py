"""Where two configurations differ, key by key."""

from collections.abc import Mapping
from typing import Any


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return where a configuration differs from another one.

    Args:
        expected: Nested mappings and lists of plain values. Only its keys are compared.
        found: The configuration to compare with it.

    Returns:
        The expected and the found value by dotted key, such as "data.init_args.batch_size".
    """
    return dict(_differences(expected, found, ""))


def _differences(expected: Any, found: Any, key: str) -> list[tuple[str, tuple[Any, Any]]]:
    if isinstance(expected, dict) and isinstance(found, dict):
        names = [(name, f"{key}.{name}".lstrip(".")) for name in expected]
        return [pair for name, path in names for pair in _differences(expected[name], found.get(name), path)]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        items = enumerate(zip(expected, found, strict=True))
        return [pair for index, both in items for pair in _differences(*both, f"{key}.{index}")]
    if key.endswith("class_path") and str(found).rpartition(".")[2] == str(expected).rpartition(".")[2]:
        return []  # the run's configuration names the module as well
    return [] if _same(expected, found) else [(key, (expected, found))]


def _same(expected: Any, found: Any) -> bool:
    """Compare a number and a string as numbers.

    YAML reads 1e-3 as a string, and the run's configuration holds 0.001. The command line saves devices=2 as "2".
    """
    if isinstance(expected, str) == isinstance(found, str) or isinstance(expected, bool) or isinstance(found, bool):
        return bool(expected == found)
    try:
        return float(expected) == float(found)
    except (TypeError, ValueError):
        return False
