"""Summarizes given runs, which are no study."""

from collections.abc import Sequence

from refinenet_pl.progress import track
from refinenet_pl.reports.ceilings import Ceilings, read_ceilings
from refinenet_pl.reports.given_runs import figure_config
from refinenet_pl.reports.rows import Row, make_row
from refinenet_pl.reports.run_rows import RunRow, experiment_name, group_runs, name_rows
from refinenet_pl.reports.seed_runs import SeedRun
from refinenet_pl.reports.summary import DatasetSummary, Summary
from refinenet_pl.text import join, plural

METRIC = "miou"
MOST_SETTINGS = 8
"""Most settings that the notes list of a row."""


def summarize_runs(runs: Sequence[SeedRun]) -> Summary:
    """Summarize runs on the same targets. The first row is the one that the others are compared with.

    Args:
        runs: The runs.

    Raises:
        UserError: A file cannot be read.
    """
    groups = group_runs(runs)
    names = name_rows(groups)
    rows: list[Row] = []
    with track(zip(names, groups, strict=True), "reading runs", len(names)) as tracked:
        for name, group in tracked:
            rows.append(make_row({"run": name}, group.runs, METRIC, rows[0] if rows else None, len(group.runs)))
    experiments = [*dict.fromkeys(map(experiment_name, runs))]
    warnings = [
        f"{run.training.path}: the training reached max_time before its last step."
        for run in runs
        if run.training and run.training.out_of_time
    ]
    count = plural(len(runs), "run")
    return Summary(
        name=experiments[0],
        title=f"{join(experiments)}: {count}" if len(experiments) < 4 else f"{count}, compared with {names[0]}",
        metric=METRIC,
        factors={"run": names},
        datasets=[DatasetSummary(None, METRIC, rows, _known_ceilings(runs), image_size="")],
        warnings=warnings,
        incomplete=bool(warnings),
        prediction_advice="",
        seeds=_common_seeds(groups),
        half_selects=all(map(_half_selects, runs)),
        notes=[_describe(name, group) for name, group in zip(names, groups, strict=True)],
    )


def _common_seeds(groups: Sequence[RunRow]) -> list[int]:
    """Return the seeds that all rows have; an empty list if they differ or are unknown."""
    seeds = [[run.seed for run in group.runs] for group in groups]
    known = [seed for seed in seeds[0] if seed is not None]
    return known if all(each == known for each in seeds) else []


def _half_selects(run: SeedRun) -> bool:
    return bool((figure_config(run)["data"].get("init_args") or {}).get("select_half"))


def _describe(name: str, group: RunRow) -> str:
    """Return the folders of a row, and its settings that differ from those of other rows."""
    settings = join((f"{key}: {value}" for key, value in group.settings.items()), MOST_SETTINGS)
    return f"{name}: {join(run.folder.path for run in group.runs)}{f' ({settings})' if settings else ''}."


def _known_ceilings(runs: Sequence[SeedRun]) -> Ceilings | None:
    """Return the ceilings of these images, if a run is of a study for which they were measured."""
    if runs[0].images.fingerprint() is None:
        return None
    folders = dict.fromkeys(run.folder.path.resolve().parent.parent for run in runs)
    files = [file for folder in folders for file in sorted(folder.glob("ceilings*.json"))]
    return next((found for file in files if (found := read_ceilings(file, runs[0])) is not None), None)
