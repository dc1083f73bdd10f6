"""Decides which rows of a study get one more seed, so that the intervals of their differences become narrow enough."""

from dataclasses import replace

from refinenet_pl.reports.rows import Row
from refinenet_pl.reports.summary import Summary
from refinenet_pl.studies.study import Study, row_name


def add_seeds(study: Study, summary: Summary, width: float) -> tuple[Study, list[str]]:
    """Return the study with one more seed for each row whose interval is too wide, and for the base row with it.

    The new seed of a row is the next one that the base row has, or a new one, so that they are compared seed by seed.

    Args:
        study: The study. It says how many seeds a row may have.
        summary: Its results, of all seeds so far.
        width: Largest width of the interval of a difference to the base row, in 0..1.

    Returns:
        The study, which is the same if no row gets a seed; and one line on each row that is too wide.
    """
    lines = []
    assert study.most_seeds is not None
    added = {row: list(seeds) for row, seeds in study.added.items()}
    for dataset in summary.datasets:
        for row in dataset.rows[1:]:
            found = interval_width(row, study.metric)
            if found is not None and found <= width:
                continue
            name, line = row_name(row.levels, dataset.name), _describe(row, found)
            seeds = study.seeds_of(row.levels, dataset.name)
            if found is not None and _images_width(row, study.metric) >= width:
                lines.append(f"{name}: {line}; the images alone give more than that, so no seed is added")
            elif len(seeds) >= study.most_seeds:
                lines.append(f"{name}: {line} with {len(seeds)} seeds; --max-seeds allows no more")
            else:
                seed = max(study.seeds) + 1 + len(seeds) - len(study.seeds)
                for each in (dataset.rows[0], row):
                    _add(added, row_name(each.levels, dataset.name), seed)
                lines.append(f"{name}: {line}; seed {seed} is added")
    return (study if added == study.added else replace(study, added=added)), lines


def interval_width(row: Row, metric: str) -> float | None:
    """Return the width of the interval of a row's difference, over seeds and images; None if it covers no seeds."""
    ends = row.difference_interval(metric)
    if ends is None or row.compared is None or not row.compared.estimate.covers_seeds:
        return None
    return ends[1] - ends[0]


def _images_width(row: Row, metric: str) -> float:
    column = row.column(metric)
    assert row.compared is not None
    low, high = row.compared.estimate.image_interval()[column]
    return float(high - low)


def _describe(row: Row, width: float | None) -> str:
    if width is None:
        return "its interval covers no seeds yet"
    return f"the interval of its difference is {100 * width:.2f} points wide"


def _add(added: dict[str, list[int]], row: str, seed: int) -> None:
    seeds = added.setdefault(row, [])
    if seed not in seeds:
        seeds.append(seed)
