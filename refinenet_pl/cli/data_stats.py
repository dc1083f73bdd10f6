"""`refinenet data stats`: classes, sizes, colors and class weights of a split."""

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from refinenet_pl.cli.data_source import add_source, load_data
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data.class_weights import METHODS, PixelCounts
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.inspection import SampleFacts, inspect
from refinenet_pl.data.labels import LabelMap, color_text
from refinenet_pl.errors import UserError
from refinenet_pl.text import join

DESCRIPTION = """Count the classes of a split: pixels, images, and class weights by each formula; and print the sizes of
the images, and the mean and standard deviation of their pixels."""


def run(name: str, args: list[str]) -> None:
    """Parse the options and print the statistics."""
    parser = Parser(prog=f"refinenet {name}", description=DESCRIPTION)
    add_source(parser)
    parser.add_argument("--split", type=Literal["train", "val", "test"], default="train", help="The split.")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="Samples that are read at a time.")
    options = parser.parse_args(args)
    module = load_data(options.name, options.root)
    module.prepare_data()
    dataset = module.dataset(options.split)
    facts = inspect(dataset, max(1, options.workers), f"Reading the {options.split} split")
    if errors := [error for sample in facts for error in sample.errors]:
        raise UserError(f"{len(errors)} samples are wrong, such as: {errors[0]}\nList all: refinenet data check")
    title = f"{type(module).__name__} in {module.root}, {options.split}: {len(facts):,} images"
    console = Console(markup=False)
    console.print(class_table(module.label_map, facts, title))
    for method, (formula, _) in METHODS.items():
        print(f"{method}: {formula}")
    print("\n".join(image_lines(facts)))


def class_table(labels: LabelMap, facts: Sequence[SampleFacts], title: str) -> Table:
    """Return a table of the classes: their values on disk, pixels, images, and weights by each formula."""
    names = labels.classes.names
    pixels = np.stack([sample.pixels for sample in facts if sample.pixels is not None])
    counts = class_counts(pixels[:, : len(names)])
    weights = []
    for method in METHODS.values():
        try:
            weights.append([f"{weight:.3f}" for weight in method.compute(counts, names)])
        except UserError:  # a class without pixels has no weight by this formula
            weights.append(["–"] * len(names))
    table = Table("class", title=title)
    for heading in ("on disk", "pixels", "share %", "images", *(method.replace("_", "\n") for method in METHODS)):
        table.add_column(heading, justify="right", no_wrap=heading != "on disk", overflow="fold")
    shares = 100 * counts.pixels / max(1, pixels.sum())
    for index, name in enumerate(names):
        row = (f"{counts.pixels[index]:,}", f"{shares[index]:.3f}", f"{counts.images[index]:,}")
        table.add_row(name, stored_values(labels, index), *row, *(column[index] for column in weights))
    table.add_section()
    void = pixels[:, IGNORE_INDEX]
    share = 100 * void.sum() / max(1, pixels.sum())
    row = (f"{void.sum():,}", f"{share:.3f}", f"{(void > 0).sum():,}")
    table.add_row("ignored", stored_values(labels, IGNORE_INDEX), *row, *("" for _ in METHODS))
    return table


def class_counts(pixels: np.ndarray) -> PixelCounts:
    """Return the counts of class weights from the pixels of each class in each image, int64 [N, C]."""
    occurs = pixels > 0
    return PixelCounts(pixels.sum(0), occurs.sum(0), (occurs * pixels.sum(1, keepdims=True)).sum(0))


def stored_values(labels: LabelMap, index: int) -> str:
    """Return the values or colors on disk that mean a class index."""
    values = [value for value, target in sorted(labels.encoding.items()) if target == index]
    return join(map(color_text if labels.colored else str, values), limit=5)


def image_lines(facts: Sequence[SampleFacts]) -> list[str]:
    """Return lines about the sizes of the images, and about the mean and standard deviation of their pixels."""
    sizes = [sample.size for sample in facts if sample.size is not None]
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    smallest, median, largest = (f"{h} x {w}" for h, w in (by_area[0], by_area[len(by_area) // 2], by_area[-1]))
    colors = np.stack([sample.colors for sample in facts if sample.colors is not None]).sum(0)
    values = np.arange(256) / 255
    mean = (colors * values).sum(1) / colors.sum(1)
    deviation = np.sqrt((colors * values**2).sum(1) / colors.sum(1) - mean**2)
    return [
        f"sizes (height x width): smallest {smallest}, median {median}, largest {largest}; {len({*sizes})} different",
        f"RGB in 0..1: mean {join(f'{value:.4f}' for value in mean)}; standard deviation "
        f"{join(f'{value:.4f}' for value in deviation)}",
    ]
