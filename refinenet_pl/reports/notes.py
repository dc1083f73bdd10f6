"""What the tables of a study mean, and what is not as the study says, in words."""

from collections.abc import Iterable, Sequence

from refinenet_pl.evaluation.bootstrap import LEVEL, RESAMPLES
from refinenet_pl.reports.summary import Row, Summary


def caption(summary: Summary) -> str:
    """One sentence on what a row's figures are: metric, seeds, images, level of the intervals."""
    study, images = summary.study, len(summary.finished[0].runs[0].images.names)
    name = metric_name(study.metric)
    over = f"seed {study.seeds[0]} alone"
    if len(study.seeds) > 1:
        over = f"mean ± sample standard deviation over seeds {listed(study.seeds)}"
    return (
        f"{name[0].upper()}{name[1:]} in percent, {over}, on {images} validation images; difference to "
        f"{summary.rows[0].label} in points, with its {100 * LEVEL:g} % interval over the images."
    )


def metric_name(metric: str) -> str:
    """The study's metric as a person says it."""
    if metric.startswith("per_class_iou."):
        return f"IoU of {metric.removeprefix('per_class_iou.')}"
    return {"miou": "mean IoU", "boundary_iou.mean": "mean Boundary IoU"}.get(metric, metric)


def explanations(summary: Summary) -> list[str]:
    """What intervals are and are not, what costs were measured on, and what the figures were made with."""
    study = summary.study
    said = []
    if any(row.interval(study.metric) for row in summary.rows):
        said.append(
            f"Intervals: {RESAMPLES:,} times, as many images as there are were drawn anew with replacement, the same "
            "for both rows, and the difference of the rows' means over seeds was taken of each draw; the interval "
            f"holds the middle {100 * LEVEL:g} % of these differences, and * marks one that excludes zero, as about "
            f"{100 * (1 - LEVEL):.0f} % of the comparisons of equals do by chance. It says how far other images like "
            "these would move the difference. It says nothing of other seeds, which the standard deviation is about, "
            "and it is too narrow where images depend on each other, as frames of one drive do."
        )
    elif len(summary.finished) > 1:
        said.append("There are no intervals: the metric is none that the images' matrices give, or undefined.")
    if len({len(row.runs) for row in summary.rows}) > 1:
        said.append("Rows have different numbers of finished seeds; each mean is over those that its row has.")
    said += _on_costs(summary)
    versions = [run.results.get("versions", {}) for row in summary.finished for run in row.runs]
    made = unique(", ".join(f"{name} {version}" for name, version in each.items()) for each in versions)
    return [*said, *(f"Made with: {each}." for each in made)]


def _on_costs(summary: Summary) -> list[str]:
    said = []
    height, width = summary.study.image_size
    devices = unique(row.costs.device for row in summary.rows if row.costs.device)
    if devices:
        said.append(f"GFLOPs, latency and memory of inference: one image of {width} x {height} on {listed(devices)}.")
    for rows in rows_by_training(summary):
        if len(rows) > 1:
            names = listed([row.label for row in rows])
            said.append(f"One training serves several rows, which differ only in their inference: {names}.")
    return said


def rows_by_training(summary: Summary) -> list[list[Row]]:
    """The finished rows that are evaluations of the same trainings, together."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in summary.finished:
        groups.setdefault(tuple(run.training or run.folder for run in row.runs[:1]), []).append(row)
    return list(groups.values())


def warnings(summary: Summary) -> list[str]:
    """Which cells are missing, and where a run differs from the study; says so if there is nothing of the kind."""
    missing = [f"Missing: {cell} ({state})." for cell, state in summary.missing.items()]
    differing = [f"Otherwise than the study says: {line}." for line in summary.deviations]
    return [
        *(missing or [f"All {len(summary.study.cells)} cells have finished."]),
        *(differing or ["Every finished run was configured as the study says."]),
    ]


def listed(words: Sequence[object]) -> str:
    """Words with commas."""
    return ", ".join(map(str, words))


def unique(words: Iterable[str]) -> list[str]:
    """Each once, in the order of first appearance."""
    return list(dict.fromkeys(words))
