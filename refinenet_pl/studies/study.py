"""A study: base experiments, factors with named levels, datasets, and the cells that they span."""

import datetime
import re
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

from refinenet_pl.studies.composition import Overrides, compose, set_value, training_part, wandb_loggers

Levels = dict[str, str]
"""The name of one level for each factor."""

STRICT = ConfigDict(extra="forbid")  # refuses misspelled keys


EVIDENCE = {
    "read": "read there",
    "quoted": "read in another paper's table",
    "list": "read in a list of results, not in a paper",
    "recalled": "recalled, not read",
}
"""How a published value is known, in words."""


@checked(frozen=True, config=STRICT)
class PublishedMetric:
    """A value that others published for a row.

    Attributes:
        levels: The row.
        value: In percent.
        source: Where the value was published.
        evidence: How it is known: "read" in the source itself, "quoted" by another paper, from a "list" that collects
            results, or "recalled" from memory. Reports show the last two in gray.
        date: When it was read or recalled, such as 2026-11-25.
        split: The split that it is of, such as "val".
        scales: The scales of the test, such as "one scale".
        training: The training data.
        dataset: The dataset, in a study of several.
    """

    levels: Levels
    value: float
    source: str
    evidence: Literal["read", "quoted", "list", "recalled"]
    date: datetime.date | str = ""
    split: str = ""
    scales: str = ""
    training: str = ""
    dataset: str | None = None

    @property
    def weak(self) -> bool:
        """Whether nobody read it in a paper."""
        return self.evidence in ("list", "recalled")

    @property
    def provenance(self) -> str:
        """Source, conditions and evidence in one line."""
        training = f"trained on {self.training}" if self.training else ""
        conditions = ", ".join(part for part in (self.split, self.scales, training) if part)
        evidence = f"{EVIDENCE[self.evidence]} {self.date}".strip()
        return "; ".join(part for part in (self.source, conditions, evidence) if part)


@checked(frozen=True, config=STRICT)
class StudyDataset:
    """One dataset of a study of several.

    Attributes:
        base: Experiment files of the dataset, relative to the study's file. The study's base overrides them.
        image_size: Replaces the study's.
        overrides: Values for the cells of this dataset. They override the study's overrides.
    """

    base: str | list[str]
    image_size: tuple[int, int] | None = None
    overrides: Overrides = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One row with one seed: one run of an experiment.

    Attributes:
        levels: The row.
        seed: Seed of all random numbers.
        config: The whole experiment, as `refinenet fit --config` takes it.
        dataset: The dataset, in a study of several.
    """

    levels: Levels
    seed: int
    config: dict[str, Any]
    dataset: str | None = None

    @property
    def row(self) -> str:
        """Name of the row, with its dataset, in paths and CSV files."""
        return row_name(self.levels, self.dataset)

    @property
    def name(self) -> str:
        """Name of the cell's folder, and of its run in W&B."""
        return f"{self.row}_seed-{self.seed}"


@checked(frozen=True, config=STRICT)
class Study:
    """The content of a study's YAML.

    Attributes:
        path: The YAML.
        base: Experiment files that every cell starts from, relative to the study's file. Later files win.
        factors: The levels of each factor by name, and the overrides of each level. The first row is the base row. It
            has the first level of each factor, unless `rows` says otherwise.
        image_size: Height and width of the image for which FLOPs, latency and memory of inference are measured. Each
            dataset can have its own.
        datasets: The datasets by name, if there are several. Rows are compared within a dataset only.
        rows: The rows. None takes every combination of levels.
        seeds: Every row is run with each seed.
        metric: Key of the metric in `results.json`: "miou", "boundary_iou.mean", "per_class_iou.person", ...
        overrides: Values for all cells. Overrides of levels win, and later factors win over earlier ones.
        published: Published values to print beside the measured ones.
        title: Heading of the report.
        select: "all" chooses the best checkpoint on the validation samples that are reported. "half" chooses it on one
            half of them, and reports the other: see `data.select_half`.
        added: Seeds that `study run --until-width` added, by the name of the row. They are not in the YAML.
        most_seeds: Most seeds that it may give a row; None if it was not used.
    """

    path: Path
    base: str | list[str]
    factors: dict[str, dict[str, Overrides]]
    image_size: tuple[int, int] | None = None
    datasets: dict[str, StudyDataset] = field(default_factory=dict)
    rows: list[Levels] | None = None
    seeds: list[int] = field(default_factory=lambda: [0])
    metric: str = "miou"
    overrides: Overrides = field(default_factory=dict)
    published: list[PublishedMetric] = field(default_factory=list)
    title: str = ""
    select: Literal["all", "half"] = "all"
    added: dict[str, list[int]] = field(default_factory=dict)
    most_seeds: int | None = None

    @property
    def name(self) -> str:
        """The file's stem. It names the folder of the runs, and the group in W&B."""
        return self.path.stem

    @property
    def dataset_names(self) -> list[str | None]:
        """The names of the datasets; [None] for a study of one dataset."""
        return [*self.datasets] or [None]

    @cached_property
    def grid(self) -> list[Levels]:
        """The rows, the base row first."""
        if self.rows is not None:
            # Names of rows follow the order of the factors, however a row is written.
            return [{factor: row[factor] for factor in self.factors if factor in row} | row for row in self.rows]
        return [dict(zip(self.factors, names, strict=True)) for names in product(*self.factors.values())]

    @cached_property
    def cells(self) -> list[Cell]:
        """Every row with every seed on every dataset. All rows of a seed come first, for an early comparison."""
        return [
            Cell(levels, seed, self._config(levels, seed, dataset), dataset)
            for dataset in self.dataset_names
            for seed in self.all_seeds
            for levels in self.grid
            if seed in self.seeds_of(levels, dataset)
        ]

    @property
    def all_seeds(self) -> list[int]:
        """The seeds of all rows: those of the YAML, then those that were added."""
        added = {seed for seeds in self.added.values() for seed in seeds}
        return [*self.seeds, *sorted(added - {*self.seeds})]

    def seeds_of(self, levels: Levels, dataset: str | None = None) -> list[int]:
        """Return the seeds of a row, with those that were added."""
        return [*self.seeds, *self.added.get(row_name(levels, dataset), [])]

    def cells_of(self, dataset: str | None) -> list[Cell]:
        """Return the cells of one dataset."""
        return [cell for cell in self.cells if cell.dataset == dataset]

    @cached_property
    def cell_groups(self) -> list[list[Cell]]:
        """The cells that share one training. The first cell is trained; the others evaluate its checkpoint."""
        groups: list[tuple[dict[str, Any], list[Cell]]] = []
        for cell in self.cells:
            training = training_part(cell.config)
            for other, group in groups:
                if other == training:
                    group.append(cell)
                    break
            else:
                groups.append((training, [cell]))
        return [group for _, group in groups]

    def image_size_of(self, dataset: str | None) -> tuple[int, int] | None:
        """Return the height and width of the image for the costs of inference."""
        size = None if dataset is None else self.datasets[dataset].image_size
        return size or self.image_size

    def overrides_of(self, levels: Levels, dataset: str | None = None) -> Overrides:
        """Return all overrides of a row, in the order in which they are applied."""
        parts = [self.overrides]
        if dataset is not None:
            parts.append(self.datasets[dataset].overrides)
        parts += [self.factors[factor][levels[factor]] for factor in self.factors]
        merged: Overrides = {}
        for overrides in parts:
            for key, value in overrides.items():
                merged.pop(key, None)  # moves the key to the end
                merged[key] = value
        return merged

    def published_for(self, levels: Levels, dataset: str | None = None) -> PublishedMetric | None:
        """Return the published value of a row, or None."""
        matches = (value for value in self.published if value.levels == levels and value.dataset == dataset)
        return next(matches, None)

    @cached_property
    def _bases(self) -> dict[str | None, dict[str, Any]]:
        """The composed base experiment of each dataset."""
        return {name: compose(self.path, self._base_files(name)) for name in self.dataset_names}

    def _base_files(self, dataset: str | None) -> list[str]:
        files = [self.base] if dataset is None else [self.datasets[dataset].base, self.base]
        return [file for entry in files for file in ([entry] if isinstance(entry, str) else entry)]

    def _config(self, levels: Levels, seed: int, dataset: str | None) -> dict[str, Any]:
        config = deepcopy(self._bases[dataset])
        for key, value in self.overrides_of(levels, dataset).items():
            set_value(config, key, deepcopy(value), self.path)
        config["seed_everything"] = seed
        if self.select == "half":
            set_value(config, "data.init_args.select_half", True, self.path)
        # One group per study, with the levels as configuration, lets W&B's panels compare the cells.
        levels_in_wandb = levels if dataset is None else {"dataset": dataset, **levels}
        for logger in wandb_loggers(config):
            arguments = logger.setdefault("init_args", {})
            arguments |= {"group": self.name, "config": {"study": self.name, "levels": levels_in_wandb}}
        return config


def row_name(levels: Levels, dataset: str | None = None) -> str:
    """Return a row's name for paths: letters, digits, and the characters .+-_ only."""
    words = [f"{factor}-{level}" for factor, level in levels.items()]
    return "_".join(re.sub(r"[^A-Za-z0-9.+]+", "-", word) for word in ([dataset] if dataset else []) + words)
