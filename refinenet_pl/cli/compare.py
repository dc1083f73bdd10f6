"""`refinenet compare`: two runs on the same images, class by class, with paired intervals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from jsonargparse.typing import OpenUnitInterval
from rich.console import Console
from rich.table import Table

from refinenet_pl.cli.parser import Parser
from refinenet_pl.evaluation.bootstrap import LEVEL
from refinenet_pl.evaluation.comparison import compare, describe, excludes_zero
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.files import write_json
from refinenet_pl.outputs import Output, check_outputs
from refinenet_pl.runs import RunFolder
from refinenet_pl.text import percent, percent_interval


def run(name: str, args: list[str]) -> None:
    """Parse the options and compare."""
    auto_cli(compare_runs, args=args, prog=f"refinenet {name}", parser_class=Parser)


def compare_runs(run_a: Path, run_b: Path, level: OpenUnitInterval = LEVEL, output: Path | None = None) -> None:
    """Compare the IoU of two runs that were evaluated on the same images.

    Args:
        run_a: Run folder with a per_image.npz, or that file. The commands fit, validate and test write it.
        run_b: The run to compare with run_a. Differences are B - A.
        level: Level of the intervals, 0..1.
        output: JSON file for the metrics.
    """
    files = [RunFolder(path).per_image if path.is_dir() else path for path in (run_a, run_b)]
    if output:
        for file in files:
            check_outputs([Output(output, file)], "--output")
    a, b = map(ImageMatrices.load, files)
    comparison = compare(a, b, level)
    console = Console(highlight=False, markup=False)
    console.print(f"A: {run_a}\nB: {run_b}")
    console.print(comparison_table(comparison))
    console.print(describe(comparison))
    if output:
        write_json(output, {"run_a": str(run_a), "run_b": str(run_b), **comparison})


def comparison_table(comparison: Mapping[str, Any]) -> Table:
    """Return a table with both IoUs in percent, and their difference in points with its interval."""
    level = f"{100 * comparison['level']:g} %"
    table = Table(
        "class",
        title=f"IoU on {comparison['images']} images",
        caption=f"* the {level} interval excludes zero",
    )
    for heading in ("A %", "B %", "B − A", f"{level} interval"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for name, row in comparison["per_class_iou"].items():
        table.add_row(name, *cells(row))
    table.add_section()
    table.add_row("mean IoU", *cells(comparison["miou"]), style="bold")
    return table


def cells(row: Mapping[str, Any]) -> list[str]:
    """Return the cells of one row of the table, after its name."""
    difference = row["difference"]
    return [
        percent(row["a"]),
        percent(row["b"]),
        "–" if difference is None else f"{100 * difference:+.2f}",
        percent_interval(row["interval"]),
        "*" if excludes_zero(row["interval"]) else "",
    ]
