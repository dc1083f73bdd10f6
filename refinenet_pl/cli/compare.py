"""`refinenet compare`: the runs of two sides on the same images, class by class, with intervals."""

from pathlib import Path

import numpy as np
from jsonargparse.typing import OpenUnitInterval
from rich.console import Console
from rich.table import Table

from refinenet_pl.cli.parser import Parser
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.comparison import Difference, compare
from refinenet_pl.evaluation.intervals import LEVEL
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import defined, defined_interval
from refinenet_pl.files import write_json
from refinenet_pl.outputs import Output, check_outputs
from refinenet_pl.runs import RunFolder
from refinenet_pl.text import join, percent, percent_interval, plural

SUMMARY = """Compare the IoU of two runs, or of several runs on each side, on the same images.

With several runs on each side, the intervals cover other seeds and other images. Runs are paired by their seeds if both
sides have the same ones. With one run on a side, the intervals cover other images only, and no difference gets a star.
A run is its folder, or its per_image.npz, which the commands fit, validate and test write."""


def run(name: str, args: list[str]) -> None:
    """Parse the options and compare."""
    parser = Parser(prog=f"refinenet {name}", description=SUMMARY)
    parser.add_argument("runs", nargs="*", type=Path, help="Two runs, A and B. Differences are B - A.")
    parser.add_argument("--a", nargs="+", type=Path, default=[], help="Several runs as A, for example one per seed.")
    parser.add_argument("--b", nargs="+", type=Path, default=[], help="Several runs as B.")
    parser.add_argument("--level", type=OpenUnitInterval, default=LEVEL, help="Level of the intervals, 0..1.")
    parser.add_argument("--output", type=Path, help="JSON file for the metrics.")
    options = parser.parse_args(args)
    if len(options.runs) == 2 and not (options.a or options.b):
        a, b = ([path] for path in options.runs)
    elif not options.runs and options.a and options.b:
        a, b = options.a, options.b
    else:
        raise UserError(
            f"found {plural(len(options.runs), 'run')} without --a and --b, {len(options.a)} after --a and "
            f"{len(options.b)} after --b. Expected `refinenet {name} RUN_A RUN_B`, or "
            f"`refinenet {name} --a RUN RUN --b RUN RUN`"
        )
    compare_runs(a, b, options.level, options.output)


def compare_runs(paths_a: list[Path], paths_b: list[Path], level: float = LEVEL, output: Path | None = None) -> None:
    """Print the differences of the runs of two sides.

    Args:
        paths_a: Run folders with a per_image.npz, or these files.
        paths_b: The runs to compare with them.
        level: Level of the intervals, 0..1.
        output: JSON file for the metrics.

    Raises:
        UserError: A file cannot be read, or the runs were not evaluated on the same images.
    """
    files_a, files_b = (sorted(map(_file, paths), key=_seed_order) for paths in (paths_a, paths_b))
    if output:
        for file in [*files_a, *files_b]:
            check_outputs([Output(output, file)], "--output")
    difference = compare(
        [*map(ImageMatrices.load, files_a)],
        [*map(ImageMatrices.load, files_b)],
        [*map(_seed, files_a)],
        [*map(_seed, files_b)],
    )
    console = Console(highlight=False, markup=False)
    console.print(f"A: {join(paths_a)}\nB: {join(paths_b)}")
    console.print(comparison_table(difference, level))
    console.print(difference.describe(level))
    if output:
        runs = {"runs_a": [*map(str, paths_a)], "runs_b": [*map(str, paths_b)]}
        write_json(output, {**runs, **difference.as_dict(level)})


def _file(path: Path) -> Path:
    return RunFolder(path).per_image if path.is_dir() else path


def _seed(file: Path) -> int | None:
    """Return the seed of the run of a per_image.npz; None if its folder has no `results.json`, or no seed in it."""
    run = RunFolder(file.parent)
    seed = run.read_results().get("seed") if run.results.is_file() else None
    return seed if isinstance(seed, int) else None


def _seed_order(file: Path) -> tuple[bool, int]:
    seed = _seed(file)
    return seed is None, seed or 0


def comparison_table(difference: Difference, level: float) -> Table:
    """Return a table with both IoUs in percent, and their difference in points with its interval."""
    percents = f"{100 * level:g} %"
    estimate = difference.estimate
    if estimate.covers_seeds:
        interval, caption = "interval", f"{percents} intervals over seeds and images; * excludes zero"
    else:
        interval, caption = "image interval", f"{percents} intervals over images alone, not over seeds"
    table = Table("class", title=f"IoU on {difference.a.images} images", caption=caption)
    headings = ["A %", "B %", "B − A", interval, *(["seeds %"] if estimate.covers_seeds else [])]
    for heading in headings:
        table.add_column(heading, justify="right")
    table.add_column("")
    names = [*difference.a.class_names, "mean IoU"]
    intervals, stars = estimate.interval(level), difference.marked(level)
    for index, name in enumerate(names):
        if index == len(names) - 1:
            table.add_section()
        value, share = defined(estimate.value[index]), estimate.seed_share[index]
        table.add_row(
            name,
            percent(defined(difference.a.iou[index])),
            percent(defined(difference.b.iou[index])),
            "–" if value is None else f"{100 * value:+.2f}",
            percent_interval(defined_interval(intervals[index])),
            *(["–" if np.isnan(share) else f"{100 * share:.0f}"] if estimate.covers_seeds else []),
            "*" if stars[index] else "",
            style="bold" if index == len(names) - 1 else None,
        )
    return table
