"""`refinenet data stats`: classes, sizes, colors and class weights of a split."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from refinenet_pl.cli.data_source import add_source, add_split, add_workers, load_data
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data.class_weights import METHODS, PixelCounts
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.inspection import inspect
from refinenet_pl.data.labels import LabelMap, color_text
from refinenet_pl.data.split_statistics import SplitStatistics, split_statistics
from refinenet_pl.errors import UserError
from refinenet_pl.text import join

DESCRIPTION = """Count the classes of a split, without augmentation: pixels, images that contain the class, and class
weights by each formula. Print the sizes of the images, and the mean and standard deviation of their pixels."""


def run(name: str, args: list[str]) -> None:
    """Parse the options and print the statistics."""
    parser = Parser(prog=f"refinenet {name}", description=DESCRIPTION)
    add_source(parser)
    add_split(parser, "train")
    add_workers(parser)
    options = parser.parse_args(args)
    module = load_data(options.name, options.root)
    module.prepare_data()
    facts = inspect(module.dataset(options.split).plain(), options.workers, f"Reading the {options.split} split")
    statistics = split_statistics(facts, len(module.classes))
    print(f"{type(module).__name__} in {module.root}, {options.split}: {len(facts):,} images")
    Console(markup=False).print(class_table(module.label_map, statistics))
    for method, (formula, _) in METHODS.items():
        print(f"{method}: {formula}")
    print("\n".join(image_lines(statistics)))


def class_table(labels: LabelMap, statistics: SplitStatistics) -> Table:
    """Return a table of the classes: their values on disk, pixels, images, and weights by each formula."""
    names, counts = labels.classes.names, statistics.counts
    weights = [weight_column(method, counts, names) for method in METHODS]
    table = Table("class")
    for heading in ("on disk", "pixels", "share %", "images", *(method.replace("_", "\n") for method in METHODS)):
        table.add_column(heading, justify="right", no_wrap=heading != "on disk", overflow="fold")
    total = max(1, counts.pixels.sum() + statistics.ignored)

    def cells(index: int, pixels: int, images: int) -> list[str]:
        return [stored_values(labels, index), f"{pixels:,}", f"{100 * pixels / total:.3f}", f"{images:,}"]

    for index, name in enumerate(names):
        row = cells(index, counts.pixels[index], counts.images[index])
        table.add_row(name, *row, *(column[index] for column in weights))
    table.add_section()
    table.add_row(
        "ignored", *cells(IGNORE_INDEX, statistics.ignored, statistics.ignored_images), *["" for _ in weights]
    )
    return table


def weight_column(method: str, counts: PixelCounts, names: Sequence[str]) -> list[str]:
    """Return the weights of a formula as text; dashes if a class without pixels leaves them undefined."""
    try:
        return [f"{weight:.3f}" for weight in METHODS[method].compute(counts, names)]
    except UserError:
        return ["–"] * len(names)


def stored_values(labels: LabelMap, index: int) -> str:
    """Return the values or colors on disk that mean a class index."""
    values = [value for value, target in sorted(labels.encoding.items()) if target == index]
    return join(map(color_text if labels.colored else str, values), limit=5)


def image_lines(statistics: SplitStatistics) -> list[str]:
    """Return lines about the sizes of the images, and about the mean and standard deviation of their pixels."""
    sizes = statistics.sizes
    smallest, median, largest = (f"{h} x {w}" for h, w in (sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1]))
    return [
        f"sizes (height x width, by area): smallest {smallest}, median {median}, largest {largest}; "
        f"{len({*sizes}):,} different",
        f"RGB over all pixels, 0..1: mean {numbers(statistics.mean)}; "
        f"standard deviation {numbers(statistics.deviation)}",
    ]


def numbers(values: np.ndarray) -> str:
    """Return numbers with four decimals."""
    return join(f"{value:.4f}" for value in values)
