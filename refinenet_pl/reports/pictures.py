"""`study pictures`: what a report needs from checkpoints and data: predictions, receptive fields, class ceilings."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from refinenet_pl.class_paths import class_paths
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.pictures import save_picture
from refinenet_pl.files import path_inside
from refinenet_pl.progress import track
from refinenet_pl.reports.ceilings import write_ceilings
from refinenet_pl.reports.page_images import Selection, image_pixels, read_samples, run_data, select_images
from refinenet_pl.reports.receptive_fields import write_field
from refinenet_pl.reports.seed_runs import SeedRun, StudyRuns, find_runs
from refinenet_pl.studies.added_seeds import with_added_seeds
from refinenet_pl.studies.commands import REFINENET, runs_option, trust_options
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.study import Study
from refinenet_pl.weights.trust import check_section


def make_pictures(study_file: str | Path, runs: str | Path = Path("runs"), trust: bool = False) -> None:
    """Make what the report of a study needs from checkpoints and data.

    The images on which the rows differ most are predicted with `refinenet predict`, by the first finished seed of each
    row. The masks are kept in the run folders, in `predictions/`. The ceilings of the classes, and the receptive field
    of the same seeds, are kept in the folder of the study. What exists is not made again. The costs of predictions are
    printed first.

    Args:
        study_file: YAML of the study.
        runs: Folder of all runs.
        trust: Whether the runs' configurations may name any class, instead of those of this package and the study.

    Raises:
        UserError: A checkpoint or the data are missing, or a process fails.
    """
    runs = Path(runs)
    study = with_added_seeds(load_study(Path(study_file)), runs)
    found = find_runs(study, runs)
    names = [name for name in study.dataset_names if name not in found.missing_datasets]
    selections = [select_images(first_runs(study, found, name)) for name in names]
    for selection in selections:  # first, because they need the data alone
        write_ceilings(study, runs, selection.runs[0], trust)
    _predict_missing([selection for selection in selections if selection.incomplete_runs], trust)
    networks = [run for selection in selections for run in selection.runs]
    with track(networks, "receptive fields") as tracked:
        for run in tracked:
            try:
                write_field(study, runs, run, trust)
            except UserError as error:  # the other rows do not need it
                print(f"no receptive field of {run.cell.row}: {error}")
    print("`refinenet study report` shows the pictures.")


def _predict_missing(selections: Sequence[Selection], trust: bool) -> None:
    if not selections:
        print("All predictions exist.")
    # All checkpoints are looked up before the first process starts.
    commands = [[_command(run, trust) for run in selection.incomplete_runs] for selection in selections]
    for selection in selections:
        print(_cost(selection))
    for selection, commands_of_selection in zip(selections, commands, strict=True):
        _predict(selection, commands_of_selection, trust)


def first_runs(study: Study, found: StudyRuns, dataset: str | None) -> list[SeedRun]:
    """Return the first finished seed of each finished row on one dataset."""
    rows = [found.select(dataset, levels) for levels in study.grid]
    return [runs[0] for runs in rows if runs]


def describe_missing(selections: Sequence[Selection], study_file: Path, runs: Path) -> str:
    """Return one sentence on missing predictions, with the command that makes them; empty if none is missing."""
    missing = sum(len(selection.missing(run)) for selection in selections for run in selection.runs)
    if not missing:
        return ""
    images = sum(len(selection.missing_images) for selection in selections)
    checkpoints = len({run.checkpoint for selection in selections for run in selection.incomplete_runs})
    needed = f"{_count(images, 'image')}, {_count(checkpoints, 'checkpoint')}"
    return (
        f"{_count(missing, 'prediction')} {'is' if missing == 1 else 'are'} missing ({needed}). To predict, run: "
        f"refinenet study pictures {study_file}{runs_option(runs)}"
    )


def _cost(selection: Selection) -> str:
    runs, images = selection.incomplete_runs, len(selection.missing_images)
    dataset, checkpoints = runs[0].cell.dataset, len({run.checkpoint for run in runs})
    return (
        f"{'' if dataset is None else f'{dataset}: '}{_count(images, 'image')} x {_count(len(runs), 'row')} = "
        f"{_count(images * len(runs), 'prediction')}, with {_count(checkpoints, 'checkpoint')}; one process per row"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _predict(selection: Selection, commands: Sequence[Sequence[str]], trust: bool) -> None:
    data = run_data(selection.runs[0], trust)
    with TemporaryDirectory() as folder:
        # The processes read the pixels that were evaluated, under the names of the samples.
        for sample in read_samples(data, selection.missing_images):
            save_picture(path_inside(folder, f"{sample['name']}.png"), image_pixels(sample))
        with track(commands, "predicting") as tracked:
            for command in tracked:
                process = subprocess.run([*command, "--images", folder], capture_output=True, text=True, check=False)
                if process.returncode:
                    raise UserError(f"{' '.join(command)} failed:\n{process.stderr[-1000:]}")


def _command(run: SeedRun, trust: bool) -> list[str]:
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
        check_section("model.inference", inference, run.folder.config, class_paths(run.cell.config))
        command.append(f"--model.inference={json.dumps(inference)}")
    return [*command, *(["--trust"] if trust else trust_options(run.cell))]
