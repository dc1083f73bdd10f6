"""`refinenet runs`: the runs of a folder in one table, with what differs between their configurations."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from refinenet_pl.cli.parser import Parser
from refinenet_pl.errors import UserError
from refinenet_pl.run_settings import differing_settings
from refinenet_pl.runs import RunFolder
from refinenet_pl.text import duration, percent

MOST_SETTINGS = 8
"""Most settings that the table shows of a run; --json has all."""
SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "date": lambda record: record["date"],
    "name": lambda record: record["run"],
    "miou": lambda record: -(record["miou"] or 0),
    "time": lambda record: -(record["seconds"] or 0),
}


def run(name: str, args: list[str]) -> None:
    """Parse the options and print the table.

    Raises:
        UserError: The folder holds no run, or a file of a run cannot be read.
    """
    description = "List runs: mean IoU, the step of the best validation, time, and what differs between their settings."
    parser = Parser(prog=f"refinenet {name}", description=description)
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("runs"), help="Folder of all runs, an experiment or a study."
    )
    parser.add_argument(
        "--sort", choices=[*SORTS], default="date", help="The best mean IoU and the longest time come first."
    )
    parser.add_argument(
        "--json", action="store_true", help="Print JSON: all settings, metrics in 0..1, times in seconds."
    )
    options = parser.parse_args(args)
    folder = options.folder
    found = find_runs(folder)
    if not found:
        raise UserError(f"{folder}: found no run; expected folders with config.yaml, as `refinenet fit` writes them")
    settings = differing_settings([each.read_config() for each in found])
    records = [record(each, folder) | {"settings": own} for each, own in zip(found, settings, strict=True)]
    records.sort(key=SORTS[options.sort])
    if options.json:
        print(dumps(records, indent=2, ensure_ascii=False))
    else:
        Console().print(table(records))
        print("A setting that most of the runs share is shown for the others only; --json has all that differ.")


def find_runs(folder: Path) -> list[RunFolder]:
    """Return all runs in a folder, at any depth of experiments and studies."""
    return [RunFolder(path.parent) for path in sorted(folder.glob(f"**/{RunFolder(Path()).config.name}"))]


def record(each: RunFolder, folder: Path) -> dict[str, Any]:
    """Return what is known of a run."""
    results = each.read_results() if each.finished else {}
    steps = dict(validations(each))
    best = max(steps, key=lambda step: steps[step], default=None)
    return {
        "run": each.path.relative_to(folder).as_posix(),
        "date": each.name[:15],
        "state": "finished" if each.finished else "not finished",
        "split": results.get("split", None if best is None else "val"),
        "miou": results.get("miou", None if best is None else steps[best]),
        "best_step": best,
        "last_step": max(steps, default=None),
        "seconds": results.get("seconds"),
    }


def validations(each: RunFolder) -> Iterator[tuple[int, float]]:
    """Yield the steps taken before each validation of a training, and its mean IoU."""
    if each.metrics.is_file():
        with each.metrics.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                if row.get("val/miou"):
                    yield int(row["step"]) + 1, float(row["val/miou"])


def usual_settings(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values that more than half of the runs have."""
    usual = {}
    for key in {key for each in settings for key in each}:
        values = [each[key] for each in settings if key in each]
        common = max(values, key=values.count)
        if 2 * values.count(common) > len(settings):
            usual[key] = common
    return usual


def table(records: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table."""
    shown = Table("run", "mean IoU %", "best step", "time", "what differs")
    usual = usual_settings([each["settings"] for each in records])
    for each in records:
        own = {key: value for key, value in each["settings"].items() if key not in usual or usual[key] != value}
        settings = [f"{key}: {value}" for key, value in own.items()]
        more = [f"and {len(settings) - MOST_SETTINGS} more"] if len(settings) > MOST_SETTINGS else []
        best = "" if each["best_step"] is None else f"{each['best_step']:,} of {each['last_step']:,}"
        text = percent(each["miou"]) if each["split"] in (None, "val") else f"{percent(each['miou'])} ({each['split']})"
        time = duration(each["seconds"]) if each["state"] == "finished" else each["state"]
        shown.add_row(each["run"], text, best, time, escape("\n".join(settings[:MOST_SETTINGS] + more)))
    return shown
