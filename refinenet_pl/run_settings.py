"""The settings in which runs differ, by the names of their options."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from refinenet_pl.differences import differing_values

UNRELATED = re.compile(
    r"(config|ckpt_path|experiment|runs|pictures|trust|threads|trainer\.(logger|enable_\w+)|checkpoint\.dirpath|"
    r"model\.(class_names|class_colors|preprocessing))(\..*)?"
)
"""Settings that say where a run is and what it shows, or that follow from the data."""


def differing_settings(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the settings of each run that are not the same in all of them.

    Args:
        configs: The configuration of each run, with all defaults. One run or more.

    Returns:
        The settings of each run by the names that options have, such as model.network.encoder_name.
    """
    values = [{option_name(key): value for key, value in each.items()} for each in differing_values(configs)]
    return [{key: value for key, value in each.items() if not UNRELATED.fullmatch(key)} for each in values]


def option_name(key: str) -> str:
    """Return the name that the option of a configuration's key has: without init_args and class_path."""
    return re.sub(r"\.init_args(?=\.)|\.class_path$", "", key)
