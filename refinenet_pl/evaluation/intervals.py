"""Intervals that cover seeds and images together.

Two things would differ if a study ran again: the seeds of its trainings, and the images that it is evaluated on. The
variance of a mean over K seeds has a part of each:

- images: the influences of each unit of images, averaged over seeds, squared and summed (`influence`, `dependence`);
- seeds: the variance of the K values over K.

What a seed does on just these images is in both parts. It counts twice, as in Owen's pigeonhole bootstrap (2007). That
is on the safe side, and small where seeds differ.

The interval is value ± t * sqrt(sum of both parts). t lies between the quantiles of Student's t distribution for
images and for seeds: t^2 = t_images^2 + (t_seeds^2 - t_images^2) * w^1.75, where w is the seeds' share of the variance.
Two and three seeds have the large quantiles 12.7 and 4.3. With the exponent 2, which is that of Satterthwaite's
degrees of freedom, intervals of two seeds are too narrow. With 1 (Graybill and Wang, 1980) they are too wide.
`docs/intervals.md` has the coverage in simulations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from refinenet_pl.evaluation.dependence import Units

LEVEL = 0.95


@dataclass(frozen=True)
class Sample:
    """The values of one row of a study, or of one side of a comparison.

    Attributes:
        values: IoU, or what errors take from it, in each run, float64 [K, M]; NaN where undefined.
        influence: Influence of each image in each run, float64 [K, images, M].
    """

    values: np.ndarray
    influence: np.ndarray

    def __sub__(self, other: "Sample") -> "Sample":
        """Return the differences of runs that are paired: run by run, and image by image."""
        return Sample(self.values - other.values, self.influence - other.influence)

    def of_runs(self, runs: list[int]) -> "Sample":
        """Return the values of some runs, by their indices."""
        return Sample(self.values[runs], self.influence[runs])


@dataclass(frozen=True)
class Estimate:
    """Means over seeds with their variances, all float64 [M].

    Attributes:
        value: The means; NaN where undefined.
        images: Variance over images.
        images_freedom: Degrees of freedom of `images`: one less than the number of units.
        seeds: Variance over seeds; NaN with a single seed.
        seeds_freedom: Degrees of freedom of `seeds`.
    """

    value: np.ndarray
    images: np.ndarray
    images_freedom: np.ndarray
    seeds: np.ndarray
    seeds_freedom: np.ndarray

    def only(self, column: int) -> "Estimate":
        """Return the estimate of one column, which can be negative to count from the end; M is then 1."""
        parts = (self.value, self.images, self.images_freedom, self.seeds, self.seeds_freedom)
        return Estimate(*(part[[column]] for part in parts))

    @property
    def covers_seeds(self) -> bool:
        """Whether there are two seeds or more on each side, so that the intervals cover seeds."""
        return not np.isnan(self.seeds).all()

    @property
    def seed_share(self) -> np.ndarray:
        """The share of the variance that is due to seeds, 0..1; NaN with a single seed, or without variance."""
        total = self.seeds + self.images
        return np.divide(self.seeds, total, out=np.full_like(total, np.nan), where=total > 0)

    def interval(self, level: float = LEVEL) -> np.ndarray:
        """Return the ends of the interval over seeds and images, [M, 2]; over images alone with a single seed."""
        if not self.covers_seeds:
            return self.image_interval(level)
        total = self.seeds + self.images
        share = np.nan_to_num(self.seed_share)
        images, seeds = _quantile(self.images_freedom, level) ** 2, _quantile(self.seeds_freedom, level) ** 2
        t = np.sqrt(images + (seeds - images) * share**1.75)
        return self._around(t * np.sqrt(total))

    def image_interval(self, level: float = LEVEL) -> np.ndarray:
        """Return the ends of the interval over images alone, [M, 2]."""
        return self._around(_quantile(self.images_freedom, level) * np.sqrt(self.images))

    def _around(self, half_width: np.ndarray) -> np.ndarray:
        return np.stack([self.value - half_width, self.value + half_width], axis=-1)


def estimate(sample: Sample, units: Units) -> Estimate:
    """Return the means over the runs of one row, or of paired differences of two rows."""
    variance, freedom = _seed_variance(sample)
    return Estimate(
        sample.values.mean(axis=0),
        _image_variance(sample.influence.mean(axis=0), units),
        np.full(variance.shape, units.count - 1),
        variance,
        np.full(variance.shape, freedom),
    )


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates, such as those of a row on several datasets."""
    count = len(estimates)
    images, images_freedom = _sum_of_variances([(each.images, each.images_freedom) for each in estimates])
    seeds, seeds_freedom = _sum_of_variances([(each.seeds, each.seeds_freedom) for each in estimates])
    value = np.mean([each.value for each in estimates], axis=0)
    return Estimate(value, images / count**2, images_freedom, seeds / count**2, seeds_freedom)


def _sum_of_variances(parts: Sequence[tuple[np.ndarray, np.ndarray | int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of variances, and its degrees of freedom by Welch and Satterthwaite."""
    total = np.sum([variance for variance, _ in parts], axis=0)
    squares = np.sum([variance**2 / np.maximum(freedom, 1) for variance, freedom in parts], axis=0)
    return total, np.divide(total**2, squares, out=np.ones_like(total), where=squares > 0)


def estimate_difference(a: Sample, b: Sample, units: Units) -> Estimate:
    """Return the difference b - a of the means of two rows whose seeds are not paired. Their images are."""
    variance, freedom = _sum_of_variances([_seed_variance(a), _seed_variance(b)])
    return Estimate(
        b.values.mean(axis=0) - a.values.mean(axis=0),
        _image_variance(b.influence.mean(axis=0) - a.influence.mean(axis=0), units),
        np.full(variance.shape, units.count - 1),
        variance,
        freedom,
    )


def marked(estimates: list[Estimate], levels: list[float] | None = None) -> list[np.ndarray]:
    """Return which differences differ from zero, bool [M] per row, adjusted for several rows (Holm 1979).

    With r rows left, a row counts if its interval at level 1 - (1 - level) / r excludes zero. Then it is taken out, and
    the others are looked at again. At least one false mark then comes up with a probability of at most 1 - level.
    Estimates of single seeds are never marked, and are not counted among the rows.

    Args:
        estimates: The difference of each row to the base row.
        levels: The level of each row. None: LEVEL for all.
    """
    levels = levels or [LEVEL] * len(estimates)
    rows = [index for index, each in enumerate(estimates) if each.covers_seeds]
    result = [np.zeros(len(each.value), bool) for each in estimates]
    if not rows:
        return result
    found = np.zeros((len(rows), len(estimates[0].value)), bool)
    for _ in rows:
        left = (~found).sum(axis=0)
        before = found.copy()
        for count in np.unique(left[left > 0]):
            at_level = [excludes_zero(estimates[row].interval(1 - (1 - levels[row]) / count)) for row in rows]
            found |= np.array(at_level) & (left == count)
        if (found == before).all():
            break
    for row, marks in zip(rows, found, strict=True):
        result[row] = marks
    return result


def excludes_zero(ends: np.ndarray) -> np.ndarray:
    """Return whether intervals [..., 2] exclude zero, bool [...]; False where they are NaN."""
    return (ends[..., 0] > 0) | (ends[..., 1] < 0)


def _quantile(freedom: np.ndarray, level: float) -> np.ndarray:
    """Return the two-sided quantile of Student's t; NaN without degrees of freedom."""
    return np.asarray(stats.t.ppf((1 + level) / 2, freedom))


def _seed_variance(sample: Sample) -> tuple[np.ndarray, int]:
    """Return the variance of the mean over seeds, [M], and its degrees of freedom; NaN and 0 for one seed."""
    runs = len(sample.values)
    if runs < 2:
        return np.full(sample.values.shape[1], np.nan), 0
    return sample.values.var(axis=0, ddof=1) / runs, runs - 1


def _image_variance(influence: np.ndarray, units: Units) -> np.ndarray:
    """Return the variance [M] over the units of images that have these influences, [images, M]."""
    count = units.count
    factor = units.inflation * count / (count - 1) if count > 1 else np.nan
    return factor * (units.sums(influence) ** 2).sum(axis=0)
