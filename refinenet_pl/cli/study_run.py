"""`refinenet study run`: the cells of a study, or what would be run."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import torch

from refinenet_pl.errors import UserError
from refinenet_pl.studies.commands import CellGroup, cell_groups
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.measure import measure_inference
from refinenet_pl.studies.pool import Pool
from refinenet_pl.studies.table import LiveTable
from refinenet_pl.studies.trial import estimates
from refinenet_pl.text import duration


def run(parser: argparse.ArgumentParser, args: list[str]) -> None:
    """Run the cells, or say what would be run."""
    parser.description = "Run every cell of a study that is not finished, in a process of its own."
    parser.epilog = "Other options go to each cell's `refinenet fit`, such as --data.root=/data/voc."
    parser.add_argument("--devices", type=int, help="GPUs, or processes at a time on the CPU; by default all GPUs.")
    parser.add_argument("--launcher", choices=["local", "slurm"], default="local", help="Where cells run.")
    parser.add_argument("--slurm", nargs="+", default=[], metavar="NAME=VALUE", help="Submitit's: timeout_min=1440 ...")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME=LEVEL", help="Cells with these levels alone.")
    parser.add_argument("--dry-run", action="store_true", help="List the cells; estimate the time by short trials.")
    options, further = parser.parse_known_args(args)
    study = load_study(options.file)
    todo = cell_groups(study, options.runs, further, levels(options.only))
    if options.dry_run:
        show_plan(todo, device_names(options.devices))
        return
    local = options.launcher == "local"
    workers = Pool(device_names(options.devices)) if local else slurm_queue(options.slurm)
    # As Ctrl-C does: it lets the pool stop its processes, which would go on by themselves otherwise.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with LiveTable(todo) as table:
        progress = workers.run(todo, table.update)
    if local:  # and not on a cluster's login node, which is no measure
        measure_inference(study, options.runs)
    if progress.failed:
        told = "".join(f"\n  {name}: {reason}" for name, reason in progress.failed.items())
        raise UserError(f"cells that failed: {len(progress.failed)}; the same command tries them again:{told}")


def slurm_queue(words: Sequence[str]) -> Any:
    """The queue of a cluster with submitit's parameters, which is slow to import."""
    from refinenet_pl.studies.slurm import SlurmQueue, slurm_parameters

    return SlurmQueue(slurm_parameters(words))


def levels(words: Sequence[str]) -> dict[str, str]:
    """Names and values of words like "seed=0"."""
    if wrong := [word for word in words if "=" not in word]:
        raise UserError(f"--only: {wrong[0]!r} is not like NAME=LEVEL")
    return dict(word.split("=", 1) for word in words)


def device_names(count: int | None) -> list[str]:
    """The GPUs to use, by number, or "cpu" for each process at a time.

    Raises:
        UserError: There are fewer GPUs, or none is asked for.
    """
    gpus = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(gpus)]
    if count is not None and (count < 1 or (gpus and count > len(names))):
        raise UserError(f"--devices is {count}; expected 1 to {len(names) or 'the number of cores'}")
    return names[:count] if gpus else ["cpu"] * (count or 1)


def show_plan(todo: Sequence[CellGroup], devices: Sequence[str]) -> None:
    """Print each cell with its overrides, and how long it would take on this machine."""
    study = todo[0].study
    estimated = estimates(todo)
    seconds = 0.0
    for training in todo:
        estimate = estimated[training.cells[0].name]
        for cell in training.cells:
            if training.folder(cell).finished is not None:
                print(f"{cell.name}: finished")
            elif cell is training.cells[0]:
                print(f"{cell.name}: {duration(estimate.seconds)}, {estimate.words}")
                seconds += estimate.seconds or 0.0
            else:
                print(f"{cell.name}: evaluates the best checkpoint of {training.cells[0].name}")
            for key, value in study.overrides_of(cell.levels).items():
                print(f"  {key}: {value}")
    print(f"in all about {duration(seconds / len(devices))} on this machine, {len(devices)} at a time")
