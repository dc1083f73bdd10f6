"""`class-weights`: class weights for the loss, counted over a training split, with the formula that they come from."""

import argparse
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table

from refinenet_pl.data import *  # noqa: F403  (so that yaml can name its classes without their modules)
from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.data.class_weights import METHODS, PixelCounts, count_classes
from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write, read_yaml


def run(args: list[str]) -> None:
    """Take the data from the experiment that --config names, then run with the other options."""
    config = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    config.add_argument("--config", type=Path)
    experiment, options = config.parse_known_args(args[1:])
    auto_cli(
        class_weights,
        args=options,
        prog="refinenet class-weights",
        as_positional=False,
        config_help="Experiment (yaml), of which only the section `data` is read.",
        set_defaults=None if experiment.config is None else {"data": data_section(experiment.config)},
    )


def data_section(path: Path) -> Any:
    """The section `data` of an experiment's yaml.

    Raises:
        UserError: No such file, no yaml, or no such section.
    """
    content = read_yaml(path, "--config")
    if "data" not in content:
        raise UserError(f"--config: {path} has no section `data`; give the data with --data and --data.root instead")
    return content["data"]


def class_weights(
    data: SegmentationDataModule,
    method: Literal["median_frequency", "inverse_log"] = "median_frequency",
    output: Path = Path("class_weights.yaml"),
) -> None:
    """Weight the classes by how rare they are in the training split, for `fit --config EXPERIMENT --config OUTPUT`.

    Args:
        data: The data, whose training split is counted; void pixels are not.
        method: The formula, which is printed with the weights.
        output: The yaml to write; its loss, a weighted cross-entropy, replaces the experiment's.
    """
    data.prepare_data()
    dataset, names = data.dataset("train"), data.classes.names
    formula, weigh = METHODS[method]
    counts = count_classes(dataset, len(names))
    weights = weigh(counts, names)
    made = f"{method} over the {len(dataset)} training images of {type(data).__name__} in {data.root}"
    Console().print(table(names, counts, weights, made))
    print(formula)
    write(output, names, weights, [f"Class weights: {made}.", f"{formula}.", "Made by refinenet class-weights."])
    print(f"weights: {output}")


def table(names: tuple[str, ...], counts: PixelCounts, weights: np.ndarray, title: str) -> Table:
    """What was counted, and the weights."""
    shown = Table("class", "pixels", "share %", "images", "weight", title=title)
    for column in shown.columns[1:]:
        column.justify = "right"
    shares = 100 * counts.pixels / counts.pixels.sum()
    for name, pixels, share, images, weight in zip(names, counts.pixels, shares, counts.images, weights, strict=True):
        shown.add_row(name, f"{pixels:,}", f"{share:.3f}", f"{images:,}", f"{weight:.4f}")
    return shown


def write(path: Path, names: tuple[str, ...], weights: np.ndarray, comments: list[str]) -> None:
    """Write a configuration of a loss with these weights."""
    lines = [f"# {comment}" for comment in comments]
    lines += ["model:", "  loss:", "    class_path: CrossEntropy", "    init_args:", "      class_weights:"]
    lines += [f"        - {weight:.6f}  # {name}" for name, weight in zip(names, weights, strict=True)]
    with atomic_write(path) as file:
        file.write_text("\n".join(lines) + "\n")
