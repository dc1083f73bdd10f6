"""How many seeds a study needs to find an effect."""

import math
from collections.abc import Sequence

from scipy import stats

MOST_SEEDS = 10_000


def pooled_deviation(rows: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the standard deviation between the values of a row, pooled over rows, and its degrees of freedom.

    Args:
        rows: The values of each row, one per seed. Rows with a single value say nothing.
    """
    squares, freedom = 0.0, 0
    for values in rows:
        mean = math.fsum(values) / max(len(values), 1)
        squares += math.fsum((value - mean) ** 2 for value in values)
        freedom += max(len(values) - 1, 0)
    return (math.sqrt(squares / freedom) if freedom else math.nan), freedom


def deviation_interval(deviation: float, freedom: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a standard deviation that was measured with these degrees of freedom."""
    low, high = (stats.chi2.ppf(quantile, freedom) for quantile in ((1 + level) / 2, (1 - level) / 2))
    return deviation * math.sqrt(freedom / low), deviation * math.sqrt(freedom / high)


def power_of(seeds: int, effect: float, deviation: float, level: float = 0.95) -> float:
    """Return the probability that a difference of two rows is found, by a two-sided t test of their seeds.

    Args:
        seeds: Seeds of each row.
        effect: The true difference.
        deviation: Standard deviation between the seeds of a row.
        level: The test's level, such as 0.95.
    """
    freedom = 2 * (seeds - 1)
    bound = stats.t.ppf((1 + level) / 2, freedom)
    shift = effect / (deviation * math.sqrt(2 / seeds))
    # The square of the test's t follows the noncentral F distribution, which stays exact for large effects.
    return float(stats.ncf.sf(bound**2, 1, freedom, shift**2))


def seeds_needed(effect: float, deviation: float, power: float = 0.8, level: float = 0.95) -> int | None:
    """Return the fewest seeds of each row that find an effect with this probability; None if `MOST_SEEDS` do not."""
    low, high = 2, 2
    while power_of(high, effect, deviation, level) < power:
        low, high = high + 1, 2 * high
        if high > MOST_SEEDS:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle, effect, deviation, level) >= power else (middle + 1, high)
    return high
