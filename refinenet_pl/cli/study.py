"""`refinenet study`: run a table of experiments, report on it, or hand it to a W&B sweep."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from refinenet_pl.errors import UserError
from refinenet_pl.reports.report import report
from refinenet_pl.studies.commands import Training, trainings
from refinenet_pl.studies.measure import measure_inference
from refinenet_pl.studies.pool import Pool
from refinenet_pl.studies.slurm import SlurmQueue, slurm_parameters
from refinenet_pl.studies.study import load_study
from refinenet_pl.studies.sweep import sweep, write_sweep
from refinenet_pl.studies.table import LiveTable, duration
from refinenet_pl.studies.trial import estimates

USAGE = """usage: refinenet study COMMAND FILE [OPTIONS]

commands:
  run     run every cell that is not finished; options that it does not know go to each cell's `refinenet fit`
  report  tables, plots and a page from what is finished
  sweep   write the study as a W&B sweep

  refinenet study run experiments/studies/chained_pooling_scenes.yaml
  refinenet study report experiments/studies/chained_pooling_scenes.yaml

refinenet study COMMAND --help lists the options.
"""


def run(args: list[str]) -> None:
    """Run one of the commands, whose name is the second word."""
    commands = {"run": run_study, "report": report_study, "sweep": sweep_study}
    if len(args) < 2 or args[1] in ("-h", "--help"):
        print(USAGE)
        return
    if args[1] not in commands:
        raise UserError(f"no command study {args[1]!r}; expected one of {', '.join(commands)}")
    parser = argparse.ArgumentParser(f"refinenet study {args[1]}", allow_abbrev=False)
    parser.add_argument("file", type=Path, help="The study's yaml.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="Folder under which runs have theirs.")
    commands[args[1]](parser, args[2:])


def run_study(parser: argparse.ArgumentParser, args: list[str]) -> None:
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
    todo = trainings(study, options.runs, further, levels(options.only))
    if options.dry_run:
        show_plan(todo, device_names(options.devices))
        return
    local = options.launcher == "local"
    workers = Pool(device_names(options.devices)) if local else SlurmQueue(slurm_parameters(options.slurm))
    # As Ctrl-C does: it lets the pool stop its processes, which would go on by themselves otherwise.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with LiveTable(todo) as table:
        progress = workers.run(todo, table.update)
    if local:  # and not on a cluster's login node, which is no measure
        measure_inference(study, options.runs)
    if progress.failed:
        told = "".join(f"\n  {name}: {reason}" for name, reason in progress.failed.items())
        raise UserError(f"cells that failed: {len(progress.failed)}; the same command tries them again:{told}")


def report_study(parser: argparse.ArgumentParser, args: list[str]) -> None:
    """Report on what is finished."""
    parser.description = "Write tables (Markdown, LaTeX, CSV), plots and a page from what is finished of a study."
    parser.add_argument("--output", type=Path, help="Folder to write to; by default RUNS/STUDY/report.")
    options = parser.parse_args(args)
    report(options.file, options.runs, options.output)


def sweep_study(parser: argparse.ArgumentParser, args: list[str]) -> None:
    """Write a study as a W&B sweep."""
    parser.description = "Write a study as a W&B sweep, whose agents run its cells by `refinenet study run`."
    parser.epilog = "Other options go to each cell's `refinenet fit`, such as --data.root=/data/voc."
    parser.add_argument("--output", type=Path, help="The yaml to write; by default STUDY_sweep.yaml here.")
    options, further = parser.parse_known_args(args)
    study = load_study(options.file)
    output = options.output or Path(f"{study.name}_sweep.yaml")
    write_sweep(output, sweep(study, ["--runs", str(options.runs), *further]))
    print(f"sweep: {output}; start it with: wandb sweep {output}")


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


def show_plan(todo: Sequence[Training], devices: Sequence[str]) -> None:
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
