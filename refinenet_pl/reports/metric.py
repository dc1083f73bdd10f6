"""The metric of a study: its value in `results.json`, and its name in tables and plots."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refinenet_pl.errors import UserError
from refinenet_pl.text import join


def metric_at(key: str, results: Mapping[str, Any], path: Path) -> float | None:
    """Return the metric at a dotted key of results; None if it is undefined.

    Args:
        key: Key of the metric, such as "per_class_iou.person".
        results: Content of `results.json`.
        path: The file, for error messages.

    Raises:
        UserError: The key does not exist, or its value is not a number.
    """
    value: Any = results
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            found = join(value) if isinstance(value, dict) else repr(value)
            raise UserError(f"metric {key}: {path} has no {part!r}; found {found}")
        value = value[part]
    if isinstance(value, dict):
        raise UserError(f"metric {key}: {path} holds several values at this key; append one of {join(value)}")
    if value is not None and not isinstance(value, int | float):
        raise UserError(f"metric {key}: {path} holds {type(value).__name__} at this key; expected a number")
    return value


def metric_name(key: str) -> str:
    """Return the name of a metric for readers, such as "mean IoU" for the key "miou"."""
    if key.startswith("per_class_iou."):
        return f"IoU of {key.removeprefix('per_class_iou.')}"
    return {"miou": "mean IoU", "boundary_iou.mean": "mean Boundary IoU"}.get(key, key)
