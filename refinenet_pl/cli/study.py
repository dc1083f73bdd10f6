"""`refinenet study`: run a table of experiments, report on it, or hand it to a W&B sweep."""

import argparse
from pathlib import Path

from refinenet_pl.errors import UserError
from refinenet_pl.studies.commands import trainings
from refinenet_pl.studies.pool import Pool
from refinenet_pl.studies.study import load_study
from refinenet_pl.studies.table import LiveTable


def run(args: list[str]) -> None:
    """Run a study."""
    parser = argparse.ArgumentParser("refinenet study run", allow_abbrev=False)
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--devices", type=int)
    options, rest = parser.parse_known_args(args[2:])
    study = load_study(options.file)
    todo = trainings(study, options.runs, rest)
    with LiveTable(todo) as table:
        progress = Pool(["cpu"] * (options.devices or 1)).run(todo, table.update)
    if progress.failed:
        raise UserError(str(progress.failed))
