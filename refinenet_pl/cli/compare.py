"""`compare`: two runs over the same images, class by class, with the uncertainty of their difference."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from jsonargparse.typing import OpenUnitInterval
from rich.console import Console
from rich.table import Table

from refinenet_pl.evaluation.bootstrap import LEVEL
from refinenet_pl.evaluation.comparison import compare, describe
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.files import write_json
from refinenet_pl.text import percent, percent_interval


def run(args: list[str]) -> None:
    """Run the command; its options are the parameters of `compare_runs`."""
    auto_cli(compare_runs, args=args[1:], prog="refinenet compare")


def compare_runs(run_a: Path, run_b: Path, level: OpenUnitInterval = LEVEL, output: Path | None = None) -> None:
    """Compare the IoU of two runs that were evaluated on the same images.

    Args:
        run_a: Run folder with a per_image.npz, as fit, validate and test leave it, or that file itself.
        run_b: The run to compare with it; differences are B - A.
        level: Of the intervals: the share of resamples that lie within.
        output: JSON file for the figures.
    """
    a, b = (ImageMatrices.load(run / "per_image.npz" if run.is_dir() else run) for run in (run_a, run_b))
    compared = compare(a, b, level)
    console = Console(highlight=False, markup=False)
    console.print(f"A: {run_a}\nB: {run_b}")
    console.print(comparison_table(compared))
    console.print(describe(compared))
    if output:
        write_json(output, {"run_a": str(run_a), "run_b": str(run_b), **compared})


def comparison_table(compared: Mapping[str, Any]) -> Table:
    """IoU of both runs in percent, their difference in points, its interval, and a mark where that excludes zero."""
    level = f"{100 * compared['level']:g} %"
    chance = f"{100 * (1 - compared['level']):g} %"
    table = Table(
        "class",
        title=f"IoU over {compared['images']} images",
        caption=f"* excludes zero, as {chance} of equal classes do by chance",
    )
    for heading in ("A %", "B %", "B − A", f"{level} interval"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for name, row in compared["per_class_iou"].items():
        table.add_row(name, *cells(row))
    table.add_section()
    table.add_row("mean IoU", *cells(compared["miou"]), style="bold")
    return table


def cells(row: Mapping[str, Any]) -> list[str]:
    """One row of the table."""
    difference, ends = row["difference"], row["interval"]
    return [
        percent(row["a"]),
        percent(row["b"]),
        "–" if difference is None else f"{100 * difference:+.2f}",
        percent_interval(ends),
        "*" if ends and (ends[0] > 0 or ends[1] < 0) else "",
    ]
