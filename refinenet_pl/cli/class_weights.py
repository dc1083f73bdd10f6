"""`refinenet class-weights`: class weights for the loss, counted on the training split, with their formula."""

from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from refinenet_pl.cli.data_source import add_unused_sections
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data import *  # noqa: F403  (so that yaml can name its classes without their modules)
from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.data.class_weights import METHODS, PixelCounts, count_classes
from refinenet_pl.files import atomic_write
from refinenet_pl.outputs import Output, check_outputs


def run(name: str, args: list[str]) -> None:
    """Parse the options and compute the weights."""
    parser = Parser(prog=f"refinenet {name}", description="Compute class weights from a training split.")
    parser.add_argument("--config", action="config", help="YAML of an experiment. Only its section `data` is read.")
    parser.add_function_arguments(class_weights)
    add_unused_sections(parser)
    options = parser.parse_args(args)
    for config in options.config or []:
        check_outputs([Output(options.output, Path(str(config)))], "--output")
    options = parser.instantiate_classes(options)
    class_weights(options.data, options.method, options.output)


def class_weights(
    data: SegmentationDataModule,
    method: Literal["median_frequency", "inverse_log"] = "median_frequency",
    output: Path = Path("class_weights.yaml"),
) -> None:
    """Write class weights for `fit --config ... --config OUTPUT`.

    Args:
        data: The data. Its training split is counted, without ignored pixels.
        method: The formula. It is printed with the weights.
        output: The YAML to write. Its loss, a weighted cross-entropy, replaces the loss of the experiment.
    """
    check_outputs([Output(output, data.root)], "--output")
    data.prepare_data()
    dataset, names = data.dataset("train"), data.classes.names
    formula, compute_weights = METHODS[method]
    counts = count_classes(dataset, len(names))
    weights = compute_weights(counts, names)
    source = f"{method} on the {len(dataset)} training images of {type(data).__name__} in {data.root}"
    Console(markup=False).print(weights_table(names, counts, weights, source))
    print(formula)
    write_loss(output, names, weights, [f"Class weights: {source}.", f"{formula}.", "Made by refinenet class-weights."])
    print(f"weights: {output}")


def weights_table(names: tuple[str, ...], counts: PixelCounts, weights: np.ndarray, title: str) -> Table:
    """Return a table of the counts and the weights."""
    table = Table("class", "pixels", "share %", "images", "weight", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    shares = 100 * counts.pixels / counts.pixels.sum()
    for name, pixels, share, images, weight in zip(names, counts.pixels, shares, counts.images, weights, strict=True):
        table.add_row(name, f"{pixels:,}", f"{share:.3f}", f"{images:,}", f"{weight:.4f}")
    return table


def write_loss(path: Path, names: tuple[str, ...], weights: np.ndarray, comments: list[str]) -> None:
    """Write the configuration of a cross-entropy with these weights."""
    lines = [f"# {comment}" for comment in comments]
    lines += ["model:", "  loss:", "    class_path: CrossEntropy", "    init_args:", "      class_weights:"]
    lines += [f"        - {weight:.6f}  # {name}" for name, weight in zip(names, weights, strict=True)]
    with atomic_write(path) as file:
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
