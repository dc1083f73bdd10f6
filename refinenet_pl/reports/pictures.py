"""`study pictures`: what a report needs from checkpoints and data: predictions, receptive fields, class ceilings."""

from collections.abc import Mapping
from pathlib import Path

from refinenet_pl.errors import UserError
from refinenet_pl.progress import track
from refinenet_pl.reports.ceilings import ceilings_file, write_ceilings
from refinenet_pl.reports.page_images import Selection, select_images
from refinenet_pl.reports.predictions import describe_costs, predict_missing, prediction_command
from refinenet_pl.reports.receptive_fields import field_file, write_field
from refinenet_pl.reports.study_runs import find_runs
from refinenet_pl.studies.added_seeds import with_added_seeds
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.study import row_name


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
    # The first seed of each finished row.
    rows = {
        name: {row_name(levels, name): own[0] for levels in study.grid if (own := found.select(name, levels))}
        for name in names
    }
    selections = {name: select_images([*rows[name].values()]) for name in names}
    for name, selection in selections.items():  # first, because they need the data alone
        write_ceilings(ceilings_file(study, runs, name), selection.runs[0], trust)
    _predict({name: selection for name, selection in selections.items() if selection.incomplete_runs}, trust)
    with track([pair for name in names for pair in rows[name].items()], "receptive fields") as tracked:
        for row, run in tracked:
            try:
                write_field(field_file(study, runs, row), run, trust)
            except UserError as error:  # the other rows do not need it
                print(f"no receptive field of {row}: {error}")
    print("`refinenet study report` shows the pictures.")


def _predict(selections: Mapping[str | None, Selection], trust: bool) -> None:
    if not selections:
        print("All predictions exist.")
    # All checkpoints are looked up before the first process starts.
    pending = [
        (selection, run, prediction_command(run, trust))
        for selection in selections.values()
        for run in selection.incomplete_runs
    ]
    for name, selection in selections.items():
        print(f"{'' if name is None else f'{name}: '}{describe_costs(selection, selection.incomplete_runs)}")
    for selection, run, command in pending:
        predict_missing(selection, run, command, trust)
