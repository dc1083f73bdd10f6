"""Captions, notes and warnings of a report."""

from statistics import fmean

from refinenet_pl.evaluation.error_parts import EDGE
from refinenet_pl.evaluation.intervals import LEVEL
from refinenet_pl.reports.metric import metric_name
from refinenet_pl.reports.summary import DatasetSummary, Summary
from refinenet_pl.text import join, plural

PERCENT = f"{100 * LEVEL:g} %"
STAR = (
    f"A star (*) marks a difference from zero at level {PERCENT}, over seeds and images, adjusted for the number of "
    "rows that are compared with the base row (Holm)."
)
STAR_OF_CLASSES = f"{STAR} Each class is looked at by itself: of 20 classes without any difference, one gets a star."


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
        f"{name[0].upper()}{name[1:]} in percent: {seeds}, on {images}. Differences are to {base.label}, in points. "
        f"Intervals: {PERCENT}, {_covers(summary.datasets[0])}."
    )


def _covers(dataset: DatasetSummary) -> str:
    return "over seeds and images" if dataset.covers_seeds else "over images alone, not over seeds"


def class_caption(dataset: DatasetSummary) -> str:
    """Return the caption of a class table."""
    ceilings = " Ceiling: what a perfect network could score, see `refinenet data ceiling`." if dataset.ceilings else ""
    return (
        f"IoU in percent, mean over seeds. In brackets: difference to {dataset.rows[0].label} in points.{ceilings} "
        + _stars(dataset, STAR_OF_CLASSES)
    )


def error_caption(dataset: DatasetSummary) -> str:
    """Return the caption of the table of errors."""
    return (
        "What each part of the errors takes from the mean IoU, in points, mean over seeds; a row sums to 100 minus its "
        "mean IoU. A segment is a connected region of one class. Missed: a segment of the target of which less than "
        "half is right; invented: the same for a segment of the prediction; swapped: both, or away from edges; at "
        f"edges: within {EDGE} pixels of an edge of the target. In brackets: difference to {dataset.rows[0].label} "
        f"with its interval. {_stars(dataset, STAR)}"
    )


def _stars(dataset: DatasetSummary, star: str) -> str:
    return star if dataset.covers_seeds else "No stars: with one seed a row, intervals say nothing about other seeds."


def pair_note(dataset: DatasetSummary) -> str:
    """Return what the intervals of any two rows cover, for the page."""
    if not dataset.covers_seeds:
        return (
            "One seed a row: intervals are over images alone and say nothing about other seeds, so there are no stars."
        )
    return (
        "Means over seeds. Intervals are over seeds and images. A star (*) and a filled dot mark an interval that "
        "excludes zero, not adjusted for the number of comparisons."
    )


def notes(summary: Summary) -> list[str]:
    """Return how to read intervals and costs, and the versions of the software."""
    lines = []
    metric, datasets = summary.study.metric, summary.datasets
    if any(row.interval(metric) for dataset in datasets for row in dataset.rows):
        lines += _interval_notes(datasets)
    elif any(len(dataset.finished) > 1 for dataset in datasets):
        lines.append("No intervals: only mean IoU and the IoU of a class have them, on two independent images or more.")
    if any(len({len(row.runs) for row in dataset.rows}) > 1 for dataset in datasets):
        lines.append(
            "Rows have different numbers of finished seeds. Each mean is over the seeds of its row. Differences are "
            "over the seeds that both rows have, if these are two or more."
        )
    if summary.joint:
        lines.append(
            'The "mean difference" averages the differences within each dataset; each dataset counts the same. Its '
            "interval takes the trainings and images of the datasets as independent."
        )
    lines += _choice_notes(summary)
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


def _choice_notes(summary: Summary) -> list[str]:
    """What choosing the best validation does to the figures."""
    if summary.study.select == "half":
        return ["Checkpoints were chosen on one half of the validation images. All figures are on the other half."]
    gaps = [
        max(curve.values()) - curve[max(curve)]
        for dataset in summary.datasets
        for row in dataset.finished
        for curve in row.curves.values()
    ]
    if not gaps:
        return []
    if not any(gaps):
        return ["The best validation of each training was its last one."]
    return [
        "The best validation of each training was chosen on the images that are reported, which makes figures too "
        f"high. It is {100 * fmean(gaps):.2f} points above the last one, on average over "
        f"{plural(len(gaps), 'training')}. The study's key `select: half` avoids this."
    ]


def _interval_notes(datasets: list[DatasetSummary]) -> list[str]:
    lines = []
    if any(dataset.covers_seeds for dataset in datasets):
        lines += [
            f"Intervals over seeds and images: {PERCENT}. They cover other seeds and other images of this kind. Rows "
            'with the same seeds are compared seed by seed. "Due to seeds" is the share of the difference\'s variance.',
            STAR_OF_CLASSES,
        ]
    most = datasets[0].study.most_seeds
    if most is not None:
        lines.append(
            f"Seeds were added to rows with wide intervals, up to {most} a row. Intervals are for the seeds at hand. "
            "Stars account for looking again after each seed: each look has its share of the risk (Bonferroni)."
        )
    if not all(dataset.covers_seeds for dataset in datasets):
        lines.append(
            f"Intervals over images alone: {PERCENT}. They cover other images of this kind. They say nothing about "
            "other seeds, so no difference gets a star. Two or more seeds a row give intervals over both."
        )
    for dataset in datasets:
        prefix = f"{dataset.name}: " if dataset.name else ""
        scores = dataset.finished[0].scores
        assert scores is not None
        lines.append(
            f"{prefix}The intervals count {scores.units.describe()}. For the mean IoU of {dataset.finished[0].label}, "
            f"{dataset.images} images say as much as {scores.effective_images:.0f} independent ones."
        )
    return lines


def warnings(summary: Summary) -> list[str]:
    """Return one line per missing dataset, missing cell and deviation, or that there are none."""
    runs = summary.runs
    missing = [
        *(f"Missing dataset: {name} (0 of {cells} cells finished)." for name, cells in runs.missing_datasets.items()),
        *(f"Missing: {cell} ({state})." for cell, state in runs.missing.items()),
    ]
    finished = len(runs.finished)
    deviations = []
    for line, cells in runs.deviations.items():
        where = f"all {finished} finished cells" if len(cells) == finished > 1 else join(cells, limit=5)
        deviations.append(f"Differs from the study in {where}: {line}.")
    return [
        *(missing or [f"All {len(summary.study.cells)} cells have finished."]),
        *(deviations or ["All finished runs have the configuration of the study."]),
    ]
