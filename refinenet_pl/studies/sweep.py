"""A study as a W&B sweep: agents, on any machines, take its cells one after another."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.studies.study import Study, row_name, wandb_loggers

PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def sweep(study: Study, options: Sequence[str] = ()) -> dict[str, Any]:
    """The sweep: a grid of the levels of each factor, or of the rows where the study lists them, and of the seeds.

    Within a run that an agent starts, W&B itself sees to it that the run belongs to the sweep: it takes project and id
    from the agent's environment, which reaches `refinenet fit` as well, and warns that it ignores those of the logger.

    Args:
        study: The study; agents find its file by the same path from where they are started.
        options: Of `refinenet study run`.

    Raises:
        UserError: A factor's name is none that W&B takes.
    """
    if study.rows is None:
        parameters = {factor: {"values": list(levels)} for factor, levels in study.factors.items()}
    else:
        parameters = {"row": {"values": [row_name(levels) for levels in study.grid]}}
    if wrong := [name for name in parameters if not PARAMETER.fullmatch(name)]:
        raise UserError(
            f"{study.path}: W&B takes letters, digits and _.- in the name of a factor, and not {wrong[0]!r}"
        )
    return {
        "name": study.name,
        **_project(study),
        "program": "refinenet",  # W&B requires it, even if the command says all
        "method": "grid",
        "metric": {"name": "val/miou", "goal": "maximize"},
        "parameters": {**parameters, "seed": {"values": list(study.seeds)}},
        # The last stands for one NAME=VALUE for each parameter.
        "command": ["refinenet", "study", "run", str(study.path), *options, "--only", "${args_no_hyphens}"],
    }


def _project(study: Study) -> dict[str, str]:
    """The project in which the cells are logged, so that the sweep lies there as well."""
    for logger in wandb_loggers(study.cells[0].config):
        if project := logger["init_args"].get("project"):
            return {"project": project}
    return {}


def write_sweep(path: Path, content: dict[str, Any]) -> None:
    """Write a sweep as yaml, for `wandb sweep PATH`."""
    with atomic_write(path) as file:
        file.write_text(yaml.safe_dump(content, sort_keys=False))
