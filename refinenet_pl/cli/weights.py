"""`refinenet weights`: convert published weights and export checkpoints to weights folders."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from refinenet_pl.cli.parser import Parser
from refinenet_pl.data import DATASETS
from refinenet_pl.weights.export import dataset_classes, write_converted, write_exported
from refinenet_pl.weights.published import PublishedWeights, load_published, published_classes


def run(name: str, args: list[str]) -> None:
    """Parse the options and convert or export."""
    function: Callable[..., None] = convert if name == "weights convert" else export
    parser = Parser(prog=f"refinenet {name}")
    parser.add_function_arguments(function, as_positional=True, skip={"dataset", "ignore", "trust"})
    if function is convert:
        parser.add_argument("--dataset", choices=list(DATASETS), help="Dataset that names and colors the classes.")
        parser.add_argument("--ignore", nargs="+", default=[], metavar="KEY", help="Keys that need not fit.")
    else:
        help_text = "Import a data module that is not of this package, for the terms of its data."
        parser.add_argument("--trust", action="store_true", help=help_text)
    function(**parser.parse_args(args).as_dict())


def convert(
    file: str | Path,
    dataset: str | None = None,
    ignore: Sequence[str] = (),
    output: str | Path | None = None,
    keys: bool = False,
) -> None:
    """Convert published weights to a weights folder.

    Args:
        file: Torch or safetensors file of a public PyTorch port of RefineNet or Light-Weight RefineNet.
        dataset: Dataset that names and colors the classes. By default, 21 classes are PASCAL VOC's, and other numbers
            of classes are numbered.
        ignore: Keys that may be missing, be left over, or have another shape.
        output: Folder to write; by default the file's name without suffixes.
        keys: Whether to list each key and its new name.
    """
    published = load_published(file, ignore)
    Console(markup=False).print(summary(published))
    if keys:
        print(*(f"{theirs} -> {ours}" for theirs, ours in published.mapping.items()), sep="\n")
    if dataset is None:
        classes, source = published_classes(published.classes)
        print(f"class names: {source} (--dataset takes those of a dataset)")
    else:
        classes, source = dataset_classes(dataset, published.classes), f"{dataset}'s, as given by --dataset"
        print(f"class names: {source}")
    folder = Path(output or Path(file).name.split(".")[0])
    write_converted(folder, published, file, classes, source)
    print(f"weights folder: {folder}")


def summary(published: PublishedWeights) -> Table:
    """Return a table of what the file holds."""
    renamed = sum(theirs != ours for theirs, ours in published.mapping.items())
    table = Table(show_header=False, title="published weights")
    table.add_row("layout", published.architecture)
    table.add_row("classes", str(published.classes))
    table.add_row("wrapped in", published.wrapping)
    table.add_row("loaded keys", f"{len(published.mapping)}, {renamed} renamed")
    table.add_row("ignored keys (random)", ", ".join(published.ignored) or "none")
    return table


def export(checkpoint: str | Path, output: str | Path | None = None, trust: bool = False) -> None:
    """Export a checkpoint to a weights folder.

    Args:
        checkpoint: Checkpoint that `refinenet fit` wrote, such as `RUN/checkpoints/best.ckpt`.
        output: Folder to write; by default the name of the experiment.
        trust: Whether to import a data module that is not of this package, for the terms of its data.
    """
    folder, weights = write_exported(checkpoint, output, trust)
    print(f"weights: {weights}\nweights folder: {folder}")
