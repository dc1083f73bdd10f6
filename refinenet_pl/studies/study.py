"""A study: a base experiment, factors with named levels, and the cells that they span."""

import re
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

from refinenet_pl.errors import UserError
from refinenet_pl.files import read_yaml

Overrides = dict[str, Any]
"""Values by their place in an experiment, such as "model.network.init_args.pooling"; each replaces what is there."""
Levels = dict[str, str]
"""The name of one level for each factor."""

STRICT = ConfigDict(extra="forbid")  # so that a misspelt key is refused


@checked(frozen=True, config=STRICT)
class PublishedMetric:
    """A figure that somebody published for a row.

    Attributes:
        levels: Which row.
        value: In percent.
        source: Where it comes from.
        verified: Whether it was read there; otherwise it is recalled, and printed so.
    """

    levels: Levels
    value: float
    source: str
    verified: bool


@dataclass(frozen=True)
class Cell:
    """One row with one seed: one run of an experiment.

    Attributes:
        levels: Its row.
        seed: Of all random numbers.
        config: The whole experiment, as `refinenet fit --config` takes it.
    """

    levels: Levels
    seed: int
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """Names the cell's folder and its run in W&B."""
        return f"{row_name(self.levels)}_seed-{self.seed}"


@checked(frozen=True, config=STRICT)
class Study:
    """What a study's yaml says.

    Attributes:
        path: Of the yaml.
        base: The experiment that every cell starts from; its path is relative to the study's file.
        factors: Of each factor the levels by name, and of each level its overrides. The first row, of the first levels
            unless `rows` says otherwise, is the one that the others are compared with.
        image_size: Height and width of the image for which FLOPs, latency and memory of inference are measured.
        rows: The rows; without them, every combination of the levels.
        seeds: Each row is run with each of them.
        metric: Place of the figure in `results.json`: "miou", "boundary_iou.mean", "per_class_iou.person", ...
        overrides: For all cells; those of levels come after them and win, later factors' last.
        published: Figures to print beside ours.
        title: A heading for the report.
    """

    path: Path
    base: str
    factors: dict[str, dict[str, Overrides]]
    image_size: tuple[int, int]
    rows: list[Levels] | None = None
    seeds: list[int] = field(default_factory=lambda: [0])
    metric: str = "miou"
    overrides: Overrides = field(default_factory=dict)
    published: list[PublishedMetric] = field(default_factory=list)
    title: str = ""

    @property
    def name(self) -> str:
        """The file's name: names the folder of its runs and the group in W&B."""
        return self.path.stem

    @cached_property
    def grid(self) -> list[Levels]:
        """The rows, the base row first."""
        if self.rows is not None:
            return self.rows
        return [dict(zip(self.factors, names, strict=True)) for names in product(*self.factors.values())]

    @cached_property
    def cells(self) -> list[Cell]:
        """Every row with every seed, all rows of a seed before the next, so that a first comparison is there early."""
        return [Cell(levels, seed, self._config(levels, seed)) for seed in self.seeds for levels in self.grid]

    @cached_property
    def cell_groups(self) -> list[list[Cell]]:
        """The cells by training: of each list the first is trained, and the others are only evaluated otherwise."""
        found: list[tuple[dict[str, Any], list[Cell]]] = []
        for cell in self.cells:
            training = deepcopy(cell.config)
            training["model"].pop("inference", None)
            training.get("trainer", {}).pop("logger", None)
            for known, sharing in found:
                if known == training:
                    sharing.append(cell)
                    break
            else:
                found.append((training, [cell]))
        return [sharing for _, sharing in found]

    def overrides_of(self, levels: Levels) -> Overrides:
        """All overrides of a row, in the order in which they are applied."""
        merged: Overrides = {}
        for overrides in [self.overrides, *(self.factors[factor][levels[factor]] for factor in self.factors)]:
            for key, value in overrides.items():
                merged.pop(key, None)  # so that it moves to the end
                merged[key] = value
        return merged

    def published_for(self, levels: Levels) -> PublishedMetric | None:
        """The published figure of a row, if there is one."""
        return next((figure for figure in self.published if figure.levels == levels), None)

    @cached_property
    def _base(self) -> dict[str, Any]:
        config = read_yaml(self.path.parent / self.base, f"{self.path}: base")
        if not isinstance(config.get("model"), dict) or not isinstance(config.get("data"), dict):
            raise UserError(f"{self.path}: base {self.base} is no experiment: it has no sections `model` and `data`")
        return config

    def _config(self, levels: Levels, seed: int) -> dict[str, Any]:
        config = deepcopy(self._base)
        for key, value in self.overrides_of(levels).items():
            set_value(config, key, deepcopy(value), self.path)
        config["seed_everything"] = seed
        self._group_in_wandb(config, levels)
        return config

    def _group_in_wandb(self, config: dict[str, Any], levels: Levels) -> None:
        """Let W&B's panels compare the cells by themselves: one group a study, with the levels as configuration."""
        for logger in wandb_loggers(config):
            arguments = logger.setdefault("init_args", {})
            arguments |= {"group": self.name, "config": {"study": self.name, "levels": levels}}


def wandb_loggers(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The W&B loggers of an experiment, which may have one logger or a list."""
    configured = config.get("trainer", {}).get("logger")
    loggers = configured if isinstance(configured, list) else [configured]
    return [
        logger
        for logger in loggers
        if isinstance(logger, dict) and logger.get("class_path", "").endswith("WandbLogger")
    ]


def row_name(levels: Levels) -> str:
    """Names a row in paths."""
    words = (f"{factor}-{level}" for factor, level in levels.items())
    return "_".join(re.sub(r"[^A-Za-z0-9.+]+", "-", word) for word in words)


def set_value(config: dict[str, Any], key: str, value: Any, path: Path) -> None:
    """Put a value at its place in nested dicts, making those that are not there."""
    *sections, last = key.split(".")
    for section in sections:
        config = config.setdefault(section, {})
        if not isinstance(config, dict):
            raise UserError(f"{path}: cannot set {key}: {section} is {config!r} there, and no section")
    config[last] = value
