"""`refinenet study power`: how many seeds a row needs, from the seeds that have finished."""

from pathlib import Path

import numpy as np
from jsonargparse.typing import OpenUnitInterval, PositiveFloat
from rich.console import Console
from rich.table import Table

from refinenet_pl.cli.study import study_parser
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.intervals import LEVEL
from refinenet_pl.evaluation.power import MOST_SEEDS, deviation_interval, pooled_deviation, seeds_needed
from refinenet_pl.reports.metric import metric_name
from refinenet_pl.reports.study_summary import summarize_study
from refinenet_pl.reports.summary import DatasetSummary
from refinenet_pl.studies.added_seeds import with_added_seeds
from refinenet_pl.studies.loading import load_study
from refinenet_pl.text import join, percent


def run(name: str, args: list[str]) -> None:
    """Parse the options and print the table."""
    parser = study_parser(name, "Tell how many seeds each row needs, from the deviation of the finished seeds.")
    parser.add_argument(
        "--effect", type=PositiveFloat, nargs="+", required=True, help="Differences to find, in points of the metric."
    )
    parser.add_argument("--power", type=OpenUnitInterval, default=0.8, help="Probability of finding them, 0..1.")
    options = parser.parse_args(args)
    summary = summarize_study(with_added_seeds(load_study(options.file), options.runs), options.runs)
    console = Console(highlight=False, markup=False)
    for dataset in summary.datasets:
        console.print(power_table(options.file, dataset, options.effect, options.power))
    console.print(
        "The images limit the precision too: their part of an interval does not shrink with more seeds. "
        "`refinenet study report` shows both parts."
    )


def power_table(study_file: Path, dataset: DatasetSummary, effects: list[float], power: float) -> Table:
    """Return the seeds that each effect needs, and the range that the uncertain deviation leaves.

    Raises:
        UserError: No row has two seeds, or all seeds have the same value.
    """
    rows = [[value for value in row.values if value is not None] for row in dataset.finished]
    deviation, freedom = pooled_deviation(rows)
    if np.isnan(deviation) or deviation == 0:
        raise UserError(
            f"{study_file}: no deviation between seeds; its rows have {join(map(len, rows))} finished seeds. "
            "Run two or more seeds of a row, with different values"
        )
    low, high = deviation_interval(deviation, freedom)
    name = metric_name(dataset.metric)
    table = Table(
        "effect, points",
        title=f"{dataset.name + ': ' if dataset.name else ''}seeds a row for {100 * power:g} % power",
        caption=f"{name} deviates by {percent(deviation)} points between seeds ({percent(low)} to {percent(high)}, "
        f"{freedom} degrees of freedom). Two-sided t test of two rows at {100 * LEVEL:g} %.",
    )
    table.add_column("seeds", justify="right")
    table.add_column("if the deviation is lower or higher", justify="right")
    for effect in effects:
        needed, fewest, most = (_seeds(effect / 100, value, power) for value in (deviation, low, high))
        table.add_row(f"{effect:g}", needed, f"{fewest} to {most}")
    return table


def _seeds(effect: float, deviation: float, power: float) -> str:
    found = seeds_needed(effect, deviation, power)
    return f"over {MOST_SEEDS:,}" if found is None else str(found)
