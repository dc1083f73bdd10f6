"""`study pictures`: predict the images that the page of a study shows."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import track

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.pictures import save_picture
from refinenet_pl.reports.images import Selection, image_pixels, read_samples, run_data, select_images
from refinenet_pl.reports.seed_runs import SeedRun, StudyRuns, find_runs
from refinenet_pl.studies.commands import REFINENET
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.study import Study


def predict_pictures(study_file: str | Path, runs: str | Path = Path("runs")) -> None:
    """Predict the images on which the rows of a study differ most, with `refinenet predict`.

    The first finished seed of each row predicts. The masks are kept in the run folders, in `predictions/`; existing
    masks are not predicted again. The costs are printed first.

    Args:
        study_file: YAML of the study.
        runs: Folder of all runs.

    Raises:
        UserError: A checkpoint or the data are missing, or a process fails.
    """
    study, runs = load_study(Path(study_file)), Path(runs)
    found = find_runs(study, runs)
    # All checkpoints are looked up before the first process starts.
    pending = [
        (selection, images, commands)
        for dataset in study.dataset_names
        if dataset not in found.missing_datasets
        if (images := _missing_images(selection := select_images(first_runs(study, found, dataset))))
        if (commands := [_command(run) for run in selection.runs if selection.missing(run)])
    ]
    if not pending:
        print("All predictions exist. `refinenet study report` shows them.")
    for selection, images, commands in pending:
        print(_cost(selection, images, commands))
    for selection, images, commands in pending:
        _predict(selection, images, commands)


def first_runs(study: Study, found: StudyRuns, dataset: str | None) -> list[SeedRun]:
    """Return the first finished seed of each finished row on one dataset."""
    rows = [found.select(dataset, levels) for levels in study.grid]
    return [runs[0] for runs in rows if runs]


def describe_missing(selections: Sequence[Selection], study_file: Path, runs: Path) -> str:
    """Return one sentence on missing predictions, with the command that predicts them; empty if none is missing."""
    incomplete = [(each, run, names) for each in selections for run in each.runs if (names := each.missing(run))]
    if not incomplete:
        return ""
    images = sum(len(_missing_images(selection)) for selection in selections)
    checkpoints = len({run.checkpoint for _, run, _ in incomplete})
    option = "" if runs == Path("runs") else f" --runs {runs}"
    return (
        f"{sum(len(names) for *_, names in incomplete)} predictions are missing ({images} images, {checkpoints} "
        f"checkpoints). To predict them, run: refinenet study pictures {study_file}{option}"
    )


def _missing_images(selection: Selection) -> list[str]:
    """The images that any run has no prediction of."""
    missing = {name for run in selection.runs for name in selection.missing(run)}
    return [name for name in selection.names if name in missing]


def _cost(selection: Selection, images: Sequence[str], commands: Sequence[Sequence[str]]) -> str:
    dataset = selection.runs[0].cell.dataset
    prefix = "" if dataset is None else f"{dataset}: "
    processes = len(commands)
    return (
        f"{prefix}{len(images)} images x {processes} checkpoints = {processes * len(images)} predictions, in "
        f"{processes} processes one after another"
    )


def _predict(selection: Selection, images: Sequence[str], commands: Sequence[Sequence[str]]) -> None:
    data = run_data(selection.runs[0].folder)
    with TemporaryDirectory() as folder:
        # The pixels that were evaluated, under the names of the samples, whatever files they come from.
        for sample in read_samples(data, images):
            save_picture(Path(folder, f"{sample['name']}.png"), image_pixels(sample))
        for command in track(commands, "predicting"):
            process = subprocess.run([*command, "--images", folder], capture_output=True, text=True, check=False)
            if process.returncode:
                raise UserError(f"{' '.join(command)} failed:\n{process.stderr[-1000:]}")


def _command(run: SeedRun) -> list[str]:
    if not run.checkpoint.is_file():
        raise UserError(
            f"{run.checkpoint}: no such checkpoint; it is needed to predict the missing images of "
            f"{run.folder.predictions}. Train the cell {run.cell.name} again."
        )
    command = [*REFINENET, "predict", "--ckpt_path", str(run.checkpoint), "--output", str(run.folder.predictions)]
    command += [
        "--trainer.devices=1",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
        "--num_workers=0",
    ]
    if inference := run.folder.read_config()["model"].get("inference"):
        command.append(f"--model.inference={json.dumps(inference)}")
    return command
