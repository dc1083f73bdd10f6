"""`refinenet data ceiling`: what a perfect network could score on a dataset."""

import sys
from typing import Literal

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from refinenet_pl.cli.data_source import add_source, load_data
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.evaluation.ceiling import ceilings
from refinenet_pl.evaluation.metrics import class_iou, mean_iou
from refinenet_pl.text import percent

DESCRIPTION = """Print the IoU of each class that a perfect network could reach. Stride N: the network's output has
cells of N x N pixels; each cell has the fractions of the classes among its pixels, and the maps are resized
bilinearly. N px off: the labels against themselves, moved by N pixels, as an annotator's hand would move an edge."""
STRIDES = (4, 8, 32)
MOVES = (1, 2)


def run(name: str, args: list[str]) -> None:
    """Parse the options and print the table."""
    parser = Parser(prog=f"refinenet {name}", description=DESCRIPTION)
    add_source(parser)
    parser.add_argument("--split", type=Literal["train", "val", "test"], default="val", help="The split.")
    options = parser.parse_args(args)
    module = load_data(options.name, options.root)
    module.prepare_data()
    dataset, names = module.dataset(options.split), module.classes.names
    title = f"ceiling of IoU %, {options.split}: {len(dataset)} images"
    Console(markup=False).print(ceiling_table(sum_ceilings(dataset, len(names)), names, title))


def sum_ceilings(dataset: SegmentationDataset, num_classes: int) -> dict[str, Tensor]:
    """Return the confusion matrices of all label images, by limit."""
    totals: dict[str, Tensor] = {}
    console = Console(file=sys.stderr)
    for index in track(range(len(dataset)), description="Reading labels", transient=True, console=console):
        target = torch.from_numpy(dataset.mask(index))
        for limit, matrix in ceilings(target, num_classes, STRIDES, MOVES).items():
            totals[limit] = totals.get(limit, torch.zeros_like(matrix)) + matrix
    return totals


def ceiling_table(matrices: dict[str, Tensor], names: tuple[str, ...], title: str) -> Table:
    """Return a table of the IoU of each class for each limit, with the mean."""
    table = Table("class", title=title)
    for limit in matrices:
        table.add_column(limit, justify="right")
    columns = [class_iou(matrix).tolist() for matrix in matrices.values()]
    for index, name in enumerate(names):
        table.add_row(name, *(percent(None if column[index] != column[index] else column[index]) for column in columns))
    table.add_section()
    table.add_row("mean IoU", *(percent(mean_iou(matrix)) for matrix in matrices.values()), style="bold")
    return table
