"""Data and networks with a planted difference, for options such as --data=helpers.planted.Reversed."""

from typing import Any

from refinenet_pl.data import CamVidDataModule
from refinenet_pl.data.dataset import Sample


class Reversed(CamVidDataModule):
    """CamVid with its samples in the opposite order."""

    def samples(self, split: str) -> list[Sample]:
        return super().samples(split)[::-1]


def edited(record: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of nested dicts with one value replaced; the path has its keys, separated by "/"."""
    key, _, rest = path.partition("/")
    assert key in record, f"no {key} to edit"
    return {**record, key: edited(record[key], rest, value) if rest else value}
