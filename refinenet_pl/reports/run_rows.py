"""Groups given runs into rows of several seeds, and names the rows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refinenet_pl.class_paths import is_class_path
from refinenet_pl.reports.given_runs import figure_config
from refinenet_pl.reports.seed_runs import SeedRun
from refinenet_pl.run_settings import differing_settings
from refinenet_pl.text import join

SEED_OR_MACHINE = re.compile(
    r"seed_everything|weights_only|data\.(root|num_workers|cache_dir|eval_batch_size)|"
    r"trainer\.(accelerator|strategy|default_root_dir)"
)
"""Settings in which the runs of one row may differ: the seed, folders, and what the machine is like."""
LONGEST_NAME = 40
"""Most letters of a name that is made of settings."""


@dataclass(frozen=True)
class RunRow:
    """The runs of one row.

    Attributes:
        runs: One run per seed, sorted by seed; seeds that are unknown come last.
        settings: The settings that are not the same in all rows, by the names of their options.
    """

    runs: list[SeedRun]
    settings: dict[str, Any]


def group_runs(runs: Sequence[SeedRun]) -> list[RunRow]:
    """Group runs that differ only in their seeds. Two runs with the same seed are not in one row.

    Args:
        runs: The runs. The first one is in the first row.

    Raises:
        UserError: A configuration cannot be read.
    """
    rows: list[RunRow] = []
    for run, differing in zip(runs, differing_settings([figure_config(run) for run in runs]), strict=True):
        settings = {key: value for key, value in differing.items() if not SEED_OR_MACHINE.fullmatch(key)}
        for row in rows:
            if row.settings == settings and (run.seed is None or run.seed not in {each.seed for each in row.runs}):
                row.runs.append(run)
                break
        else:
            rows.append(RunRow([run], settings))
    for row in rows:
        row.runs.sort(key=lambda run: (run.seed is None, run.seed or 0))
    return rows


def name_rows(rows: Sequence[RunRow]) -> list[str]:
    """Return a unique name for each row: what differs, or else the experiment, or the folder of its first run."""
    paths = [row.runs[0].folder.path.resolve() for row in rows]
    experiments = [experiment_name(row.runs[0]) for row in rows]
    candidates = (
        _settings_names([row.settings for row in rows]),
        experiments,
        [f"{experiment}/{path.name}" for experiment, path in zip(experiments, paths, strict=True)],
    )
    return next((names for names in candidates if len({*names}) == len(rows) and all(names)), [*map(str, paths)])


def experiment_name(run: SeedRun) -> str:
    """Return the name of a run's experiment."""
    return str(run.folder.read_config().get("experiment") or run.folder.path.resolve().parent.name)


def _settings_names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings that all rows have as names; empty texts if there are none, or too many."""
    keys = [key for key in settings[0] if all(key in each for each in settings)]
    lasts = [key.rpartition(".")[2] for key in keys]
    shown = [last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)]
    names = [join(f"{name} {_short(each[key])}" for key, name in zip(keys, shown, strict=True)) for each in settings]
    return names if max(map(len, names)) <= LONGEST_NAME else [""] * len(names)


def _short(value: object) -> str:
    """Return a value as a name has it: a class without its module, a file without its folder."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text.rpartition(".")[2] if is_class_path(text) else Path(text).name if isinstance(value, str) else text
