"""Kills trainings at random moments, resumes them, and compares their end with that of an uninterrupted training.

Usage: python -m helpers.soak --minutes 30, or --kills 3. The last line says how many kills, resumes and differences.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from helpers.commands import fit_options, only_run
from helpers.fake_data import make_camvid
from helpers.probes import tensors
from refinenet_pl.cli.main import main
from refinenet_pl.runs import RunFolder

TRAINING = (
    "--trainer.callbacks=EMA",
    "--model.optimizer=AdamW",
    "--model.optimizer.lr=0.01",
    "--model.network.dropout=0.5",
    "--data.color_jitter=0.5",
    "--trainer.max_epochs=4",
    "--trainer.val_check_interval=2",
    "--checkpoint.every_n_steps=1",
    "--trainer.num_sanity_val_steps=0",
)
COMPARED = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "global_step")


@dataclass
class Counts:
    """What has happened so far."""

    kills: int = 0
    while_writing: int = 0
    restarts: int = 0
    resumes: int = 0
    trainings: int = 0
    differences: int = 0


def start(folder: Path, *options: str | Path) -> int:
    """Start `refinenet fit` in a new process, which need not import anything; return its id."""
    process = os.fork()
    if process:
        return process
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["refinenet"]
    try:
        status = main(["fit", *map(str, options)])
    except BaseException as error:
        print(repr(error), flush=True)
        status = 99
    os._exit(status)


def finish(process: int, seconds: float | None = None) -> int | None:
    """Wait for the end of a process, and return its status; kill it after some seconds, and return None."""
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(process, os.WNOHANG if end is not None else 0)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if end is not None and time.monotonic() >= end:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return None
        time.sleep(0.002)


def outcome(run: RunFolder) -> dict[str, Any]:
    """What must be equal at the end of two trainings."""
    results = run.read_results()
    found: dict[str, Any] = {key: results[key] for key in ("confusion_matrix", "per_class_iou", "boundary_iou")}
    for file in (run.last_checkpoint, run.best_checkpoint):
        checkpoint = torch.load(file, weights_only=True)
        found |= {f"{file.name}: {key}": checkpoint[key] for key in COMPARED}
        found |= {f"{file.name}: random state": checkpoint["callbacks"]["RandomState"]}
    return found


def equal(first: Any, second: Any) -> bool:
    """Compare nested values, tensors bit for bit."""
    one, other = list(tensors(first)), list(tensors(second))
    if one or other:
        return len(one) == len(other) and all(map(torch.equal, one, other))
    return bool(first == second)


def train_with_kills(folder: Path, options: list[str], seconds: float, kills: int, counts: Counts) -> RunFolder:
    """Train to the end; kill it at most `kills` times, after a random part of an uninterrupted training's time."""
    while True:
        runs = list((folder / "runs").glob("*/*"))
        run = RunFolder(runs[0]) if runs else None
        if run is not None and run.last_checkpoint.is_file():
            counts.resumes += 1
            process = start(folder, "--ckpt_path", run.last_checkpoint)
        else:
            counts.restarts += run is not None
            shutil.rmtree(folder / "runs", ignore_errors=True)
            process = start(folder, *options)
        status = finish(process, random.uniform(0.2, 1) * seconds if kills > 0 else None)
        if status == 0:
            return RunFolder(only_run(folder / "runs"))
        if status is not None:
            raise SystemExit(
                f"soak: the training ended with status {status}\n{(folder / 'log.txt').read_text()[-5000:]}"
            )
        kills -= 1
        counts.kills += 1
        counts.while_writing += bool(list((folder / "runs").glob("*/*/checkpoints/.*.tmp")))


def soak(folder: Path, minutes: float | None, kills: int | None, workers: list[int]) -> Counts:
    """Kill and resume trainings until the time has passed, or until enough were killed."""
    root = make_camvid(folder / "camvid", train=9, val=2, test=1)
    end = None if minutes is None else time.monotonic() + 60 * minutes
    (folder / "whole").mkdir()
    whole_options = [*fit_options(root, folder / "whole" / "runs"), *TRAINING]
    started = time.monotonic()
    if finish(start(folder / "whole", *whole_options)) != 0:
        raise SystemExit((folder / "whole" / "log.txt").read_text()[-5000:])
    seconds = time.monotonic() - started
    expected = outcome(RunFolder(only_run(folder / "whole" / "runs")))
    counts = Counts()
    while (end is None or time.monotonic() < end) and (kills is None or counts.kills < kills):
        part = folder / f"part{counts.trainings}"
        part.mkdir()
        options = [*fit_options(root, part / "runs"), *TRAINING]
        options.append(f"--data.num_workers={workers[counts.trainings % len(workers)]}")
        rest = 4 if kills is None else kills - counts.kills
        found = outcome(train_with_kills(part, options, seconds, min(4, rest), counts))
        different = [key for key in expected if not equal(expected[key], found[key])]
        counts.trainings += 1
        counts.differences += len(different)
        print(f"training {counts.trainings}: {counts}, different: {different}", flush=True)
        shutil.rmtree(part)
    return counts


def command() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 4])
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = random.randrange(10**6) if args.seed is None else args.seed
    random.seed(seed)
    torch.set_num_threads(1)  # a forked process cannot use the threads of its parent
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        counts = soak(Path(folder), args.minutes, args.kills, args.workers)
    print(
        f"{counts.trainings} trainings, {counts.kills} kills ({counts.while_writing} while a checkpoint was written), "
        f"{counts.resumes} resumes, {counts.restarts} starts from zero, {counts.differences} differences"
    )
    return 1 if counts.differences else 0


if __name__ == "__main__":
    sys.exit(command())
