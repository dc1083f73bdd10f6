"""Predicts the images of a page that have no prediction yet, with one process of `refinenet predict` per run."""

import json
import subprocess
import time
from collections.abc import Sequence
from tempfile import TemporaryDirectory, TemporaryFile

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.pictures import save_picture
from refinenet_pl.files import path_inside
from refinenet_pl.progress import progress_bars
from refinenet_pl.reports.page_images import Selection, image_pixels, read_samples, run_data
from refinenet_pl.reports.seed_runs import SeedRun
from refinenet_pl.studies.commands import REFINENET, trust_options
from refinenet_pl.text import plural
from refinenet_pl.weights.trust import check_section


def describe_missing(selections: Sequence[Selection], advice: str) -> str:
    """Return what predictions are missing, and what to do; empty if none is missing."""
    missing = sum(len(selection.missing(run)) for selection in selections for run in selection.runs)
    if not missing:
        return ""
    images = sum(len(selection.missing_images) for selection in selections)
    checkpoints = len({run.checkpoint for selection in selections for run in selection.incomplete_runs})
    needed = f"{plural(images, 'image')}, {plural(checkpoints, 'checkpoint')}"
    return f"{plural(missing, 'prediction')} {'is' if missing == 1 else 'are'} missing ({needed}). {advice}"


def describe_costs(selection: Selection, runs: Sequence[SeedRun]) -> str:
    """Return what the missing predictions of some runs cost."""
    images = len({name for run in runs for name in selection.missing(run)})
    checkpoints = len({run.checkpoint for run in runs})
    return (
        f"{plural(images, 'image')} x {plural(len(runs), 'row')} = {plural(images * len(runs), 'prediction')}, with "
        f"{plural(checkpoints, 'checkpoint')}; one process per row"
    )


def predict_missing(selection: Selection, run: SeedRun, command: Sequence[str], trust: bool = False) -> None:
    """Predict the images that a run has not predicted.

    Args:
        selection: The images.
        run: The run.
        command: What `prediction_command` returns.
        trust: As for `run_data`.

    Raises:
        UserError: The data cannot be read, or the process fails.
    """
    names = selection.missing(run)
    data = run_data(run, trust)
    with TemporaryDirectory() as folder:
        # The process reads the pixels that were evaluated, under the names of the samples.
        for sample in read_samples(data, run.split, names):
            save_picture(path_inside(folder, f"{sample['name']}.png"), image_pixels(sample))
        _run([*command, "--images", folder], selection, run)


def prediction_command(run: SeedRun, trust: bool = False) -> list[str]:
    """Return the command that predicts images as a run did, without the images.

    Args:
        run: The run.
        trust: As for `run_data`.

    Raises:
        UserError: Its checkpoint is gone, or its configuration names untrusted classes.
    """
    if not run.checkpoint.exists():
        raise UserError(f"{run.checkpoint}: no such checkpoint to predict images with; restore it, or train again.")
    command = [*REFINENET, "predict", "--ckpt_path", str(run.checkpoint), "--output", str(run.predictions)]
    command += [
        "--trainer.devices=1",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
        "--num_workers=0",
    ]
    if inference := run.folder.read_config()["model"].get("inference"):
        check_section("model.inference", inference, run.folder.config, run.named_classes)
        command.append(f"--model.inference={json.dumps(inference)}")
    return [*command, *(["--trust"] if trust else trust_options(run.named_classes))]


def _run(command: Sequence[str], selection: Selection, run: SeedRun) -> None:
    """Run the process, and show how many images it has predicted."""
    total = len(selection.missing(run))
    with TemporaryFile() as output:
        with (
            progress_bars() as bars,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT) as process,
        ):
            task = bars.add_task("predicting", total=total)
            try:
                while process.poll() is None:
                    time.sleep(0.2)
                    bars.update(task, completed=total - len(selection.missing(run)))
            finally:
                process.kill()  # if this command is interrupted
        if process.returncode:
            output.seek(0)
            raise UserError(f"{' '.join(command)} failed:\n{output.read().decode(errors='replace')[-1000:]}")
