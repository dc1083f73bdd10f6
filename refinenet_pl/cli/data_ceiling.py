"""`refinenet data ceiling`: what a perfect network could score on a dataset."""

from rich.console import Console
from rich.table import Table
from torch import Tensor

from refinenet_pl.cli.data_source import add_source, add_split, add_workers, load_data
from refinenet_pl.cli.parser import Parser
from refinenet_pl.reports.ceilings import split_ceiling
from refinenet_pl.text import percent

DESCRIPTION = """Print the IoU that a perfect network could score, limited by the resolution of its logits or by the
annotation. "stride N": the image is divided into ceil(H / N) x ceil(W / N) equal cells; the logit of a class in a cell
is its fraction among the cell's pixels; logits are resized bilinearly (align_corners=False), as in evaluation, and the
highest wins. "moved N px": the labels against themselves, moved by N pixels, where both exist: the mean over right,
left, down and up. Ignored pixels never count."""


def run(name: str, args: list[str]) -> None:
    """Parse the options and print the table."""
    parser = Parser(prog=f"refinenet {name}", description=DESCRIPTION)
    add_source(parser)
    add_split(parser, "val")
    add_workers(parser)
    options = parser.parse_args(args)
    module = load_data(options.name, options.root)
    module.prepare_data()
    dataset, names = module.dataset(options.split).plain(), module.classes.names
    limits = split_ceiling(dataset, len(names), options.workers)
    print(f"{type(module).__name__} in {module.root}, {options.split}: ceiling of IoU % on {len(dataset):,} images")
    Console(markup=False).print(ceiling_table(limits, names))


def ceiling_table(limits: dict[str, Tensor], names: tuple[str, ...]) -> Table:
    """Return a table of the IoU of each class at each limit, and of its mean over the classes in the labels."""
    table = Table("class")
    for limit in limits:
        table.add_column(limit, justify="right")
    for name, *values in zip(names, *(values.tolist() for values in limits.values()), strict=True):
        table.add_row(name, *map(shown, values))
    table.add_section()
    table.add_row("mean IoU", *(shown(float(values.nanmean())) for values in limits.values()), style="bold")
    return table


def shown(value: float) -> str:
    """Return an IoU in percent; a dash for NaN."""
    return percent(None if value != value else value)
