"""`refinenet study run`: train and evaluate the cells of a study, or list what would run."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat

from refinenet_pl.cli.study import add_fit_options, fit_options, study_parser
from refinenet_pl.errors import UserError
from refinenet_pl.reports.more_seeds import add_seeds
from refinenet_pl.reports.study_summary import summarize_study
from refinenet_pl.studies.added_seeds import with_added_seeds, write_added_seeds
from refinenet_pl.studies.commands import CellGroup, cell_groups, runs_option
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.measure import measure_inference
from refinenet_pl.studies.pool import Pool
from refinenet_pl.studies.study import Study
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
    parser.add_argument(
        "--until-width",
        type=PositiveFloat | None,
        metavar="POINTS",
        help="Add seeds to rows until the interval of each difference to the first row is at most this wide.",
    )
    parser.add_argument(
        "--max-seeds", type=int, default=10, help="Most seeds of a row with --until-width. It sets the level of stars."
    )
    add_fit_options(parser)
    options = parser.parse_args(args)
    study = with_added_seeds(load_study(options.file), options.runs)
    if options.until_width is not None:
        check_growth(study, options.only, options.max_seeds)
    if options.dry_run:
        groups = cell_groups(study, options.runs, fit_options(options), parse_levels(options.only))
        print_plan(groups, device_names(options.devices))
        return
    # SIGTERM stops the pool as Ctrl-C does. Otherwise its processes would run on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    failed = run_cells(study, options)
    if options.until_width is not None:
        study = replace(study, most_seeds=max(options.max_seeds, study.most_seeds or 0))
        write_added_seeds(study, options.runs)
        while not failed and (grown := grow(study, options)) is not study:
            study = grown
            write_added_seeds(study, options.runs)  # before its cells run, so that a killed command goes on
            failed = run_cells(study, options)
    if options.launcher == "local":  # a cluster's login node is no place to measure
        measure_inference(study, options.runs)
    if failed:
        failures = "".join(f"\n  {cell}: {message}" for cell, message in failed.items())
        raise UserError(f"failed cells: {len(failed)}; run the same command to try them again:{failures}")
    print(f"for tables, plots and a page: refinenet study report {options.file}{runs_option(options.runs)}")


def grow(study: Study, options: Namespace) -> Study:
    """Return the study with seeds added to rows with wide intervals, and print them; the same study if none is."""
    grown, lines = add_seeds(study, summarize_study(study, options.runs), options.until_width / 100)
    print(*lines or [f"All intervals are at most {options.until_width:g} points wide."], sep="\n")
    return grown


def run_cells(study: Study, options: Namespace) -> dict[str, str]:
    """Run the unfinished cells of a study; return the message of each cell that failed."""
    groups = cell_groups(study, options.runs, fit_options(options), parse_levels(options.only))
    local = options.launcher == "local"
    workers = Pool(device_names(options.devices)) if local else slurm_queue(options.slurm)
    with LiveTable(groups) as table:
        return workers.run(groups, table.update).failed


def check_growth(study: Study, only: Sequence[str], most: int) -> None:
    """Refuse --until-width where seeds cannot be added: with --only, or for a metric without intervals."""
    if only:
        raise UserError("--until-width adds seeds to all rows; expected no --only with it")
    if study.metric != "miou" and not study.metric.startswith("per_class_iou."):
        raise UserError(
            f"--until-width: {study.path} has the metric {study.metric}, which has no intervals; expected miou or "
            "per_class_iou.CLASS"
        )
    if most < max(len(study.seeds), 2):
        raise UserError(
            f"--max-seeds is {most}; expected at least {max(len(study.seeds), 2)}: two, and the seeds of the study"
        )


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
