"""`refinenet study`: run a table of experiments, report on it, or hand it to a W&B sweep."""

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from refinenet_pl.errors import UserError
from refinenet_pl.studies.commands import Training, trainings
from refinenet_pl.studies.measure import measure_inference
from refinenet_pl.studies.pool import Pool
from refinenet_pl.studies.study import load_study
from refinenet_pl.studies.table import LiveTable, duration
from refinenet_pl.studies.trial import estimates

USAGE = """refinenet study COMMAND FILE [OPTIONS]

commands:
  run     run every cell that is not finished; options that it does not know go to each cell's `refinenet fit`
  report  tables, plots and a page from what is finished
  sweep   write the study as a W&B sweep

  refinenet study run experiments/studies/chained_pooling_scenes.yaml
  refinenet study report experiments/studies/chained_pooling_scenes.yaml

refinenet study COMMAND --help lists the options.
"""


def run(args: list[str]) -> None:
    """Run one of the commands."""
    commands = {"run": run_study}
    if len(args) < 2 or args[1] in ("-h", "--help"):
        print(USAGE)
        return
    if args[1] not in commands:
        raise UserError(f"no command study {args[1]!r}; expected one of {', '.join(commands)}")
    commands[args[1]](args[2:])


def run_study(args: list[str]) -> None:
    """Run the cells, or say what would be run."""
    parser = argparse.ArgumentParser(
        "refinenet study run FILE",
        description="Run every cell of a study that is not finished, each as `refinenet fit` in a process of its own.",
        epilog="Further options go to each cell's `refinenet fit`, such as --data.root=/data/voc.",
        allow_abbrev=False,
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="Folder under which runs get theirs.")
    parser.add_argument("--devices", type=int, help="GPUs, or processes at a time on the CPU; by default all GPUs.")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME=LEVEL", help="Cells with these levels alone.")
    parser.add_argument("--dry-run", action="store_true", help="List the cells; estimate the time by short trials.")
    options, further = parser.parse_known_args(args[1:] if args and not args[0].startswith("-") else args)
    if not args or args[0].startswith("-"):
        raise UserError("which study? Give its file first: refinenet study run FILE [OPTIONS]")
    study = load_study(Path(args[0]))
    todo = trainings(study, options.runs, further, pairs(options.only))
    devices = device_names(options.devices)
    if options.dry_run:
        show_plan(todo, len(devices))
        return
    # As Ctrl-C does: it lets the pool stop its processes, which would go on by themselves otherwise.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with LiveTable(todo) as table:
        progress = Pool(devices).run(todo, table.update)
    measure_inference(study, options.runs)
    if progress.failed:
        told = "".join(f"\n  {name}: {reason}" for name, reason in progress.failed.items())
        raise UserError(f"{len(progress.failed)} cells failed; the same command tries them again:{told}")


def pairs(words: Sequence[str]) -> Mapping[str, str]:
    """Names and values of words like "seed=0"."""
    if wrong := [word for word in words if "=" not in word]:
        raise UserError(f"--only: {wrong[0]!r} is not like NAME=LEVEL")
    return dict(word.split("=", 1) for word in words)


def device_names(count: int | None) -> list[str]:
    """The GPUs to use, by number, or "cpu" for each process at a time.

    Raises:
        UserError: There are fewer GPUs.
    """
    gpus = torch.cuda.device_count()
    if not gpus:
        return ["cpu"] * (count or 1)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(gpus)]
    if count is not None and not 1 <= count <= len(names):
        raise UserError(f"--devices: {count}, but this machine has {len(names)} GPUs")
    return names[:count]


def show_plan(todo: Sequence[Training], devices: int) -> None:
    """Print each cell with its overrides, and how long it would take on this machine."""
    study = todo[0].study
    estimated = estimates(todo)
    table = Table("cell", "overrides", "time", "estimated from", title=study.name)
    total = 0.0
    for training in todo:
        for cell in training.cells:
            overrides = [f"{key}: {value}" for key, value in study.overrides_of(cell.levels).items()]
            estimate = estimated[cell.name] if cell is training.cells[0] else None
            finished = training.folder(cell).finished is not None
            time = "finished" if finished else "evaluated only" if estimate is None else duration(estimate.seconds)
            total += 0 if finished or estimate is None else estimate.seconds or 0
            table.add_row(cell.name, "\n".join(overrides), time, estimate.words if estimate else "")
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(f"in all about {duration(total / devices)} on {devices} {'device' if devices == 1 else 'devices'}")
