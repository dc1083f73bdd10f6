"""`refinenet data prepare`: get a dataset ready, and say what is missing."""

from rich.console import Console
from rich.table import Table

from refinenet_pl.cli.data_source import add_source, load_data
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.data.plain_tars import write_plain_tars
from refinenet_pl.data.splits import SPLITS
from refinenet_pl.errors import UserError

DESCRIPTION = """Get a dataset ready: download it where its license allows that, convert raw files once, and compare the
number of samples with the official splits. Originals are never changed, and an interrupted command goes on."""


def run(name: str, args: list[str]) -> int:
    """Parse the options and prepare the data. The exit status is 1 if a split has another number than officially."""
    parser = Parser(prog=f"refinenet {name}", description=DESCRIPTION)
    add_source(parser)
    options = parser.parse_args(args)
    return prepare(load_data(options.name, options.root), " ".join(args))


def prepare(module: SegmentationDataModule, words: str) -> int:
    """Prepare the data of a module, and print the number of samples of each split.

    Args:
        module: The data.
        words: Name and root as they were given, for the commands that are printed.

    Raises:
        UserError: Something is missing; the message says what to fetch and where it goes.
    """
    if hasattr(module, "download"):  # of datasets that may be downloaded without an account
        module.download = True
    module.prepare_data()
    for tar in write_plain_tars(module.root):
        print(f"wrote {tar}, which is read in place")
    module.convert()
    table = Table("split", "samples", "official", title=f"{type(module).__name__} in {module.root}")
    different = False
    errors = []
    for split in SPLITS:
        official = module.official_counts.get(split)
        try:
            count = len(module.chosen_samples(split))
        except UserError as error:  # such as a split without public labels
            errors.append(error)
            continue
        different |= official is not None and count != official
        table.add_row(split, f"{count:,}", "–" if official is None else f"{official:,}")
    if not table.row_count:
        raise errors[0]
    Console(markup=False).print(table)
    if different:
        print("The number of samples differs from the official splits: files or lines of lists are missing or added.")
    print(f"next: refinenet data check {words}")
    return int(different)
