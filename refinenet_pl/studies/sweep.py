"""A study as a W&B sweep: agents on any machines take its cells one after another."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.studies.composition import wandb_loggers
from refinenet_pl.studies.study import Study, row_name

PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def sweep(study: Study, options: Sequence[str] = ()) -> dict[str, Any]:
    """Return the sweep: a grid over datasets, seeds, and the levels of each factor or the study's own rows.

    W&B assigns a run to the sweep through the environment of the agent. The environment reaches `refinenet fit`, where
    W&B takes project and id from it, and warns that it ignores those of the logger.

    Args:
        study: The study. Agents must find its file under the same path.
        options: Options of `refinenet study run`.

    Raises:
        UserError: W&B does not accept the name of a factor.
    """
    parameters: dict[str, Any] = {}
    if study.datasets:
        parameters["dataset"] = {"values": list(study.datasets)}
    if study.rows is None:
        parameters |= {factor: {"values": list(levels)} for factor, levels in study.factors.items()}
    else:
        parameters["row"] = {"values": [row_name(levels) for levels in study.grid]}
    if wrong := [name for name in parameters if not PARAMETER.fullmatch(name)]:
        raise UserError(
            f"{study.path}: factor {wrong[0]!r} cannot be a parameter of a W&B sweep; use letters, digits and _.- only"
        )
    return {
        "name": study.name,
        **({"project": project} if (project := logger_argument(study, "project")) else {}),
        "program": "refinenet",  # required by W&B, although the command says everything
        "method": "grid",
        "metric": {"name": "val/miou", "goal": "maximize"},
        "parameters": {**parameters, "seed": {"values": list(study.seeds)}},
        # W&B replaces the last word with one NAME=VALUE per parameter.
        "command": ["refinenet", "study", "run", str(study.path), *options, "--only", "${args_no_hyphens}"],
    }


def logger_argument(study: Study, name: str) -> str | None:
    """Return an argument of the W&B logger of a study's cells, such as the project; None if it is not configured."""
    loggers = wandb_loggers(study.cells[0].config)
    return next((logger["init_args"][name] for logger in loggers if logger["init_args"].get(name)), None)


def write_sweep(path: str | Path, content: dict[str, Any]) -> None:
    """Write a sweep as YAML, for `wandb sweep PATH`."""
    with atomic_write(path) as file:
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
