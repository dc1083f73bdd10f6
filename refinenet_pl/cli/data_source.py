"""Datasets of the command line: a dataset's short name with its root, or a yaml of own data."""

from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import SUPPRESS
from jsonargparse.typing import PositiveInt

from refinenet_pl import data
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data import *  # noqa: F403  (so that yaml can name its classes without their modules)
from refinenet_pl.data import DATASETS, SegmentationDataModule
from refinenet_pl.data.parallel import usable_cpus
from refinenet_pl.errors import UserError
from refinenet_pl.text import join

UNUSED_SECTIONS = (
    "seed_everything",
    "model",
    "trainer",
    "experiment",
    "runs",
    "checkpoint",
    "pictures",
    "threads",
    "ckpt_path",
)
"""What an experiment holds besides `data`: allowed in yaml, and not read."""


def add_source(parser: Parser) -> None:
    """Add the arguments NAME and ROOT, from which `load_data` returns the data."""
    parser.add_argument("name", type=str, help=f"YAML of an experiment, or one of {join(DATASETS)}.")
    parser.add_argument(
        "root", type=str | None, nargs="?", help="Folder or archive of the data; by default the yaml's."
    )


def add_split(parser: Parser, default: str) -> None:
    """Add the option --split."""
    parser.add_argument("--split", type=Literal["train", "val", "test"], default=default, help="The split.")


def add_workers(parser: Parser) -> None:
    """Add the option --workers."""
    parser.add_argument("--workers", type=PositiveInt, default=usable_cpus(), help="Most processes that read samples.")


def load_data(name: str, root: str | None) -> SegmentationDataModule:
    """Return the data module of a dataset. Nothing is read but the yaml.

    Args:
        name: Short name of a dataset, or path of a yaml whose section `data` is used.
        root: Folder or archive of the data. None: the yaml's.

    Raises:
        UserError: The name is unknown, the yaml has no data, or there is no root.
    """
    if name in DATASETS:
        if root is None and name != "scenes":
            raise UserError(f"{name}: expected the folder of the dataset after the name")
        module: SegmentationDataModule = getattr(data, DATASETS[name])(root)
        return module
    if not Path(name).is_file():
        raise UserError(f"{name}: neither a dataset nor a file; expected a yaml, or one of {join(DATASETS)}")
    words = ["--config", name, *([] if root is None else [f"--data.init_args.root={root}"])]
    found = _parse(words)
    found.cache_dir = None  # these commands are about the files
    return found


def parse_data(section: dict[str, Any]) -> SegmentationDataModule:
    """Return the data module of a section `data` as plain values; raise UserError if it is wrong."""
    return _parse(["--config", yaml.safe_dump({"data": section})])


def _parse(words: list[str]) -> SegmentationDataModule:
    parser = Parser(prog="refinenet data")
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(SegmentationDataModule, "data", required=True)
    add_unused_sections(parser)
    found: SegmentationDataModule = parser.instantiate_classes(parser.parse_args(words)).data
    return found


def add_unused_sections(parser: Parser) -> None:
    """Let a parser accept the other sections of an experiment."""
    for section in UNUSED_SECTIONS:
        parser.add_argument(f"--{section}", type=Any, help=SUPPRESS)
