"""`refinenet study run`: train and evaluate the cells of a study, or list what would run."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import torch

from refinenet_pl.cli.study import add_fit_options, fit_options, study_parser
from refinenet_pl.errors import UserError
from refinenet_pl.studies.commands import CellGroup, cell_groups
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.measure import measure_inference
from refinenet_pl.studies.pool import Pool
from refinenet_pl.studies.table import LiveTable
from refinenet_pl.studies.trial import estimates
from refinenet_pl.text import duration


def run(name: str, args: list[str]) -> None:
    """Parse the options and run the cells."""
    description = "Run every unfinished cell of a study in a process of its own. Interrupted cells resume."
    parser = study_parser(name, description)
    parser.add_argument(
        "--devices", type=int | None, help="GPUs to use, or CPU processes at a time. The default is all GPUs."
    )
    parser.add_argument("--launcher", choices=["local", "slurm"], default="local", help="Where cells run.")
    parser.add_argument(
        "--slurm", nargs="+", default=[], metavar="NAME=VALUE", help="Parameters of submitit, such as timeout_min=1440."
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME=LEVEL", help="Run only cells with these levels, seed or dataset."
    )
    parser.add_argument("--dry-run", action="store_true", help="List the cells, and estimate the time by short trials.")
    add_fit_options(parser)
    options = parser.parse_args(args)
    study = load_study(options.file)
    groups = cell_groups(study, options.runs, fit_options(options), parse_levels(options.only))
    if options.dry_run:
        print_plan(groups, device_names(options.devices))
        return
    local = options.launcher == "local"
    workers = Pool(device_names(options.devices)) if local else slurm_queue(options.slurm)
    # SIGTERM stops the pool as Ctrl-C does. Otherwise its processes would run on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with LiveTable(groups) as table:
        progress = workers.run(groups, table.update)
    if local:  # a cluster's login node is no place to measure
        measure_inference(study, options.runs)
    if progress.failed:
        failures = "".join(f"\n  {cell}: {message}" for cell, message in progress.failed.items())
        raise UserError(f"failed cells: {len(progress.failed)}; run the same command to try them again:{failures}")


def slurm_queue(words: Sequence[str]) -> Any:
    """Return the queue of a cluster. submitit is imported only here, because its import is slow."""
    from refinenet_pl.studies.slurm import SlurmQueue, slurm_parameters

    return SlurmQueue(slurm_parameters(words))


def parse_levels(words: Sequence[str]) -> dict[str, str]:
    """Return names and values of words such as "seed=0"; raises UserError for other words."""
    if wrong := [word for word in words if "=" not in word]:
        raise UserError(f"--only: found {wrong[0]!r}; expected NAME=LEVEL")
    return dict(word.split("=", 1) for word in words)


def device_names(count: int | None) -> list[str]:
    """Return the numbers of the GPUs to use, or "cpu" once for each process at a time.

    Raises:
        UserError: `count` is below 1, or more than there are GPUs.
    """
    gpus = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(gpus)]
    if count is not None and (count < 1 or (gpus and count > len(names))):
        raise UserError(f"--devices is {count}; expected 1 to {len(names) or 'the number of cores'}")
    return names[:count] if gpus else ["cpu"] * (count or 1)


def print_plan(groups: Sequence[CellGroup], devices: Sequence[str]) -> None:
    """Print each cell with its overrides, and the estimated time on this machine."""
    study = groups[0].study
    estimated = estimates(groups)
    seconds = 0.0
    for group in groups:
        estimate = estimated[group.cells[0].name]
        for cell in group.cells:
            if group.folder(cell).finished is not None:
                print(f"{cell.name}: finished")
            elif cell is group.cells[0]:
                print(f"{cell.name}: {duration(estimate.seconds)}, {estimate.words}")
                seconds += estimate.seconds or 0.0
            else:
                print(f"{cell.name}: evaluates the best checkpoint of {group.cells[0].name}")
            for key, value in study.overrides_of(cell.levels, cell.dataset).items():
                print(f"  {key}: {value}")
    print(f"total: about {duration(seconds / len(devices))} on this machine, {len(devices)} at a time")
