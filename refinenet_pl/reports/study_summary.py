"""Summarizes the finished runs of a study."""

from pathlib import Path

from refinenet_pl.evaluation.intervals import LEVEL
from refinenet_pl.evaluation.looks import look_level
from refinenet_pl.progress import track
from refinenet_pl.reports.ceilings import ceilings_file, read_ceilings
from refinenet_pl.reports.receptive_fields import field_file, read_field
from refinenet_pl.reports.rows import Row, make_row
from refinenet_pl.reports.study_runs import StudyRuns, find_runs
from refinenet_pl.reports.summary import DatasetSummary, Summary
from refinenet_pl.studies.commands import runs_option
from refinenet_pl.studies.measure import inference_file, read_rows
from refinenet_pl.studies.study import Study, row_name


def summarize_study(study: Study, runs: Path) -> Summary:
    """Summarize the finished runs of a study.

    Args:
        study: The study.
        runs: Folder of all runs.

    Raises:
        UserError: No cell has finished, a file cannot be read, or runs on one dataset have different targets.
    """
    found = find_runs(study, runs)
    names = [name for name in study.dataset_names if name not in found.missing_datasets]
    return Summary(
        name=study.name,
        title=study.title or study.name,
        metric=study.metric,
        factors={name: list(levels) for name, levels in study.factors.items()},
        datasets=[_summarize_dataset(study, runs, found, name) for name in names],
        warnings=found.warnings,
        incomplete=found.incomplete,
        prediction_advice=f"To predict, run: refinenet study pictures {study.path}{runs_option(runs)}",
        seeds=study.seeds,
        half_selects=study.select == "half",
        most_seeds=study.most_seeds,
    )


def _summarize_dataset(study: Study, runs: Path, found: StudyRuns, dataset: str | None) -> DatasetSummary:
    inference = {line["row"]: line for line in read_rows(inference_file(study, runs), "row")}
    rows: list[Row] = []
    with track(study.grid, f"reading {dataset or 'runs'}") as tracked:
        for levels in tracked:
            selected, name = found.select(dataset, levels), row_name(levels, dataset)
            planned = len(study.seeds_of(levels, dataset))
            row = make_row(
                levels,
                selected,
                study.metric,
                rows[0] if rows else None,
                planned,
                level=LEVEL if study.most_seeds is None else look_level(len(study.seeds), planned, study.most_seeds),
                inference=inference.get(name, {}),
                published=study.published_for(levels, dataset),
                field=read_field(field_file(study, runs, name), selected[0]) if selected else None,
            )
            rows.append(row)
    first = next(row.runs[0] for row in rows if row.runs)
    ceilings = read_ceilings(ceilings_file(study, runs, dataset), first)
    size = " x ".join(map(str, reversed(study.image_size_of(dataset) or ())))
    return DatasetSummary(dataset, study.metric, rows, ceilings, size)
