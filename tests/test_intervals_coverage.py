"""Coverage of the intervals, and false stars, in studies drawn from known populations; the table of docs/intervals.md.

`python tests/test_intervals_coverage.py` prints the table.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from helpers.drawn_rows import Population

from refinenet_pl.evaluation.dependence import find_units
from refinenet_pl.evaluation.intervals import Sample, estimate, estimate_difference, excludes_zero

DRAWS = 2_000
SEEDS = (2, 3, 5, 10)


@dataclass(frozen=True)
class Case:
    """A population and what is drawn from it.

    Attributes:
        name: What the table calls it.
        population: The population.
        images: Number of images.
    """

    name: str
    population: Population
    images: int


CASES = [
    Case("seeds and images alike", Population(seed=0.1, image=0.8, both=0.3), 100),
    Case("mostly seeds", Population(seed=0.25, image=0.8, both=0.3), 100),
    Case("seeds alone", Population(seed=0.5, image=0.2, both=0.1), 100),
    Case("one drive", Population(seed=0.25, image=0.8, both=0.3, correlation=0.85), 200),
]

IMAGES_ALONE = Case("images alone", Population(seed=0.0, image=0.8, both=0.3), 100)


def simulate(case: Case, runs: int, draws: int = DRAWS) -> dict[str, float]:
    """Return the coverage of a row's mean IoU and the false stars of differences, in percent."""
    truth = case.population.truth()[-1]
    rng = np.random.default_rng(runs)
    covered = paired = unpaired = 0
    for _ in range(draws):
        a, b = case.population.draw(rng, runs, case.images, rows=2)
        groups = ["drive" if case.population.correlation else ""] * case.images
        units = find_units(groups, np.concatenate([_mean_influence(a), _mean_influence(b)]))
        low, high = estimate(a, units).interval()[-1]
        covered += low <= truth <= high
        paired += excludes_zero(estimate(b - a, units).interval())[-1]
        unpaired += excludes_zero(estimate_difference(a, b, units).interval())[-1]
    return {
        "covered": 100 * covered / draws,
        "false stars, paired seeds": 100 * paired / draws,
        "false stars, other seeds": 100 * unpaired / draws,
    }


def _mean_influence(row: Sample) -> np.ndarray:
    return row.influence[:, :, -1]


@pytest.mark.slow
@pytest.mark.parametrize("runs", SEEDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_intervals_cover_and_stars_are_rare(case, runs):
    found = simulate(case, runs)
    # A share of 2,000 draws has a standard deviation of 0.5 points.
    assert 93 <= found["covered"] <= 97
    assert found["false stars, paired seeds"] <= 6
    assert found["false stars, other seeds"] <= 6


@pytest.mark.slow
@pytest.mark.parametrize("runs", SEEDS)
def test_intervals_are_wide_if_seeds_do_not_matter(runs):
    found = simulate(IMAGES_ALONE, runs)
    assert found["covered"] >= 93
    assert max(found["false stars, paired seeds"], found["false stars, other seeds"]) <= 6


def main() -> None:
    """Print the table in Markdown."""
    print("| population | seeds | covered, % | false stars, paired seeds, % | false stars, other seeds, % |")
    print("|---|---:|---:|---:|---:|")
    for case in [*CASES, IMAGES_ALONE]:
        for runs in SEEDS:
            found = simulate(case, runs)
            print(f"| {case.name} | {runs} | {' | '.join(f'{value:.1f}' for value in found.values())} |")


if __name__ == "__main__":
    main()
