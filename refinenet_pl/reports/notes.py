"""Captions, notes and warnings of a report."""

from refinenet_pl.evaluation.bootstrap import LEVEL, RESAMPLES
from refinenet_pl.reports.metric import metric_name
from refinenet_pl.reports.summary import DatasetSummary, Summary
from refinenet_pl.text import join

PERCENT = f"{100 * LEVEL:g} %"


def caption(summary: Summary) -> str:
    """Return the caption of the main table: metric, seeds, number of images, differences."""
    study, base = summary.study, summary.datasets[0].rows[0]
    name = metric_name(study.metric)
    seeds = f"seed {join(study.seeds)} only"
    if len(study.seeds) > 1:
        seeds = f"mean ± sample standard deviation over seeds {join(study.seeds)}"
    images = join(
        f"{dataset.images} validation images" + (f" of {dataset.name}" if dataset.name else "")
        for dataset in summary.datasets
    )
    return (
        f"{name[0].upper()}{name[1:]} in percent: {seeds}, on {images}. Differences are to {base.label}, in points, "
        f"with {PERCENT} intervals."
    )


def class_caption(dataset: DatasetSummary) -> str:
    """Return the caption of a class table."""
    return (
        f"IoU in percent, mean over seeds. In brackets: difference to {dataset.rows[0].label} in points. "
        f"A star (*) marks a {PERCENT} interval that excludes zero."
    )


def notes(summary: Summary) -> list[str]:
    """Return how to read intervals and costs, and the versions of the software."""
    lines = []
    metric, datasets = summary.study.metric, summary.datasets
    if any(row.interval(metric) for dataset in datasets for row in dataset.rows):
        lines += _interval_notes()
    elif any(len(dataset.finished) > 1 for dataset in datasets):
        lines.append("No intervals: only mean IoU and the IoU of a class have them, on two images or more.")
    if any(len({len(row.runs) for row in dataset.rows}) > 1 for dataset in datasets):
        lines.append("Rows have different numbers of finished seeds. Each mean is over the seeds of its row.")
    for dataset in datasets:
        prefix = f"{dataset.name}: " if dataset.name else ""
        if dataset.devices:
            costs = f"GFLOPs, latency and inference memory: one image of {dataset.image_size} (width x height)"
            lines.append(
                f"{prefix}{costs} on {join(dataset.devices)}. The rows were measured in turn; latency is the median, "
                "with the quartiles in brackets."
            )
        for rows in dataset.rows_by_training:
            if len(rows) > 1:
                labels = join(row.label for row in rows)
                lines.append(f"{prefix}These rows share their trainings and differ in inference only: {labels}.")
    versions = (run.results.get("versions", {}) for run in summary.runs.finished)
    software = dict.fromkeys(join(f"{name} {version}" for name, version in each.items()) for each in versions)
    return [*lines, *(f"Software: {each}." for each in software)]


def _interval_notes() -> list[str]:
    return [
        f"Intervals: {PERCENT}, percentile bootstrap over images, {RESAMPLES:,} resamples. Both rows use the same "
        "resamples. The difference is between the rows' means over seeds.",
        "A star (*) marks an interval that excludes zero. Two equal rows get a mark in about "
        f"{100 * (1 - LEVEL):.0f} % of comparisons.",
        "Intervals cover other images of this kind. They do not cover other seeds; see the standard deviation. They "
        "are too narrow if images depend on each other, such as frames of one drive.",
    ]


def warnings(summary: Summary) -> list[str]:
    """Return one line per missing dataset, missing cell and deviation, or that there are none."""
    runs = summary.runs
    missing = [
        *(f"Missing dataset: {name} (0 of {cells} cells finished)." for name, cells in runs.missing_datasets.items()),
        *(f"Missing: {cell} ({state})." for cell, state in runs.missing.items()),
    ]
    deviations = [f"Differs from the study: {line}." for line in runs.deviations]
    return [
        *(missing or [f"All {len(summary.study.cells)} cells have finished."]),
        *(deviations or ["All finished runs have the configuration of the study."]),
    ]
