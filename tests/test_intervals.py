"""Intervals over seeds and images against scipy's tests, an analysis of variance and scipy's bootstrap."""

from collections.abc import Callable

import numpy as np
import pytest
from helpers.drawn_rows import Population
from scipy import stats

from refinenet_pl.evaluation.dependence import Units, autocorrelation, find_units
from refinenet_pl.evaluation.influence import influence_of, iou_and_influence
from refinenet_pl.evaluation.intervals import (
    Sample,
    estimate,
    estimate_difference,
    excludes_zero,
    marked,
    mean_estimate,
)
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.scores import score

CLASSES = 4


def population(count: int, seed: int, quality: float = 0.8) -> np.ndarray:
    """Matrices [count, C, C] of images that differ in size, in their classes, and in quality."""
    rng = np.random.default_rng(seed)
    matrices = rng.integers(0, 60, (count, CLASSES, CLASSES))
    accuracy = np.clip(quality + rng.normal(0, 0.15, (count, 1)), 0, 1)
    matrices[:, range(CLASSES), range(CLASSES)] += (accuracy * rng.integers(100, 900, (count, CLASSES))).astype(int)
    matrices[rng.random((count, CLASSES)) < 0.4] = 0  # classes that the image lacks
    return matrices


def to_images(matrices: np.ndarray, groups: tuple[str, ...] = ()) -> ImageMatrices:
    images = ImageMatrices([f"class {index}" for index in range(matrices.shape[1])])
    for index, matrix in enumerate(matrices):
        images.add(f"{index:05d}", matrix, group=groups[index] if groups else "")
    return images


def iou(matrices: np.ndarray) -> np.ndarray:
    """IoU of each class over images [..., n, C, C], then the mean IoU."""
    total = matrices.sum(-3)
    correct = np.diagonal(total, axis1=-2, axis2=-1)
    per_class = correct / (total.sum(-1) + total.sum(-2) - correct)
    return np.concatenate([per_class, per_class.mean(-1, keepdims=True)], -1)


def seeds_only(values: np.ndarray, images: int = 10) -> Sample:
    """Runs [K, M] that differ between seeds, and not between images."""
    return Sample(values, np.zeros((len(values), images, values.shape[1])))


def independent(count: int) -> Units:
    return Units(np.arange(count), "images")


def test_influence_is_the_derivative():
    matrices = population(12, seed=0).astype(float)
    correct = np.diagonal(matrices, axis1=1, axis2=2)
    values, influence = influence_of(correct, matrices.sum(2), matrices.sum(1))
    np.testing.assert_allclose(values, iou(matrices))
    for image in range(12):  # with a little more weight on one image
        weights = np.ones(12)
        weights[image] += 1e-6
        change = (iou(weights[:, None, None] * matrices) - iou(matrices)) / 1e-6
        np.testing.assert_allclose(influence[image], change, atol=1e-6)
    np.testing.assert_allclose(influence.sum(0), 0, atol=1e-12)


def bootstrap(statistic: Callable[[np.ndarray], np.ndarray], count: int) -> tuple[float, float]:
    """Scipy's interval of a metric of images given by index, [..., n]."""
    result = stats.bootstrap(
        (np.arange(count),),
        lambda indices, axis: statistic(indices),
        n_resamples=5_000,
        method="percentile",
        batch=1000,
        rng=np.random.default_rng(99),
    )
    return result.confidence_interval.low, result.confidence_interval.high


def test_image_intervals_are_near_the_bootstrap():
    a, b = population(200, seed=0), population(200, seed=0, quality=0.9)
    difference = estimate(score([to_images(b)]).sample - score([to_images(a)]).sample, independent(200))
    single = score([to_images(a)]).estimate().image_interval()
    for column in (0, 3, 4):
        for found, statistic in (
            (single[column], lambda indices, c=column: iou(a[indices])[..., c]),
            (
                difference.image_interval()[column],
                lambda indices, c=column: iou(b[indices] - 0)[..., c] - iou(a[indices])[..., c],
            ),
        ):
            np.testing.assert_allclose(found, bootstrap(statistic, 200), atol=0.08 * (found[1] - found[0]))


def test_variances_equal_an_analysis_of_variance():
    rng = np.random.default_rng(0)
    runs, images = 4, 30
    table = rng.normal(size=(runs, 1)) + rng.normal(size=(1, images)) + rng.normal(size=(runs, images))
    # The mean over images is linear, so its influences are deviations over the number of images.
    means = table.mean(1)
    sample = Sample(means[:, None], ((table - means[:, None]) / images)[..., None])
    found = estimate(sample, independent(images))
    rows, columns = table.mean(1), table.mean(0)
    ms_seeds, ms_images = images * rows.var(ddof=1), runs * columns.var(ddof=1)
    assert found.images[0] == pytest.approx(ms_images / (runs * images))
    assert found.seeds[0] == pytest.approx(ms_seeds / (runs * images))
    assert (found.images_freedom[0], found.seeds_freedom[0]) == (images - 1, runs - 1)


def test_seeds_alone_give_students_interval():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 5)), rng.normal(1, 1, (3, 5))
    expected = stats.ttest_rel(b, a).confidence_interval(0.9)
    found = estimate(seeds_only(b) - seeds_only(a), independent(10)).interval(0.9)
    np.testing.assert_allclose(found, np.stack([expected.low, expected.high], -1))


def test_unpaired_seeds_give_welchs_interval():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 5)), rng.normal(1, 3, (6, 5))
    expected = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    found = estimate_difference(seeds_only(a), seeds_only(b), independent(10)).interval()
    np.testing.assert_allclose(found, np.stack([expected.low, expected.high], -1))


def test_both_parts_widen_the_interval():
    (row,) = Population(seed=0.2, image=0.8, both=0.3).draw(np.random.default_rng(0), runs=3, images=60)
    found = estimate(row, independent(60))
    joint, images = found.interval(), found.image_interval()
    seeds = estimate(seeds_only(row.values, 60), independent(60)).interval()
    assert ((joint[:, 1] - joint[:, 0]) > (images[:, 1] - images[:, 0])).all()
    assert joint[-1, 1] - joint[-1, 0] > 0.9 * (seeds[-1, 1] - seeds[-1, 0])
    assert ((found.seed_share >= 0) & (found.seed_share <= 1)).all()


def test_one_seed_is_never_marked():
    (row,) = Population(seed=0.2, image=0.8, both=0.3).draw(np.random.default_rng(0), runs=1, images=60)
    found = estimate(row, independent(60))
    assert not found.covers_seeds
    np.testing.assert_array_equal(found.interval(), found.image_interval())
    assert excludes_zero(found.interval()).all()
    assert not marked([found])[0].any()


def test_marks_are_holms():
    rng = np.random.default_rng(3)
    effects = np.array([0.0, 1.0, 2.0, 4.0])[:, None, None]
    differences = effects + rng.normal(size=(4, 5, 200))  # rows, seeds, independent studies
    p = stats.ttest_1samp(differences, 0, axis=1).pvalue
    order = np.argsort(p, axis=0)
    expected = np.zeros_like(p, bool)
    for study in range(200):
        for rank, row in enumerate(order[:, study]):
            if p[row, study] > 0.05 / (4 - rank):
                break
            expected[row, study] = True
    found = np.array(marked([estimate(seeds_only(each), independent(10)) for each in differences]))
    np.testing.assert_array_equal(found, expected)
    assert 0 < expected[0].sum() < expected[3].sum() <= 200
    assert found.sum() < (p <= 0.05).sum(), "without adjustment there are more"


def test_classes_of_one_unit_have_no_interval():
    matrices = population(20, seed=0)
    matrices[1:, 3] = 0  # one image has the class
    ends = score([to_images(matrices)]).estimate().image_interval()
    assert np.isnan(ends[3]).all()
    assert not np.isnan(ends[[0, 1, 2, 4]]).any()


def test_one_image_has_no_interval():
    scores = score([to_images(population(1, seed=0))])
    assert np.isnan(scores.estimate().image_interval()).all()
    assert np.isnan(scores.effective_images)


def test_many_groups_are_units():
    matrices = population(60, seed=0)
    groups = tuple(f"city {index % 6}" for index in range(60))
    scores = score([to_images(matrices, groups)])
    assert (scores.units.kind, scores.units.count) == ("groups", 6)
    _, influence = iou_and_influence(to_images(matrices))
    sums = np.array([influence[city::6].sum(0) for city in range(6)])
    found = scores.estimate()
    np.testing.assert_allclose(found.images, 6 / 5 * (sums**2).sum(0))
    assert found.images_freedom.tolist() == [5] * 5


def test_frames_of_one_drive_are_blocks():
    rng = np.random.default_rng(0)
    (row,) = Population(seed=0.0, image=0.8, both=0.0, correlation=0.9).draw(rng, runs=1, images=400)
    series = row.influence[:, :, -1]
    units = find_units(["drive"] * 400, series)
    assert units.kind == "blocks"
    assert 5 <= units.count < 40
    assert (np.diff(units.index) >= 0).all(), "each block is consecutive"
    alone = find_units([""] * 400, series)
    assert (alone.kind, alone.count) == ("images", 400)
    assert estimate(row, units).images[-1] > 3 * estimate(row, alone).images[-1]


def test_independent_frames_stay_single():
    (row,) = Population(seed=0.0, image=0.8, both=0.0).draw(np.random.default_rng(4), runs=1, images=400)
    units = find_units(["drive"] * 400, row.influence[:, :, -1])
    assert units.count > 60


def test_blocks_stay_within_drives():
    groups = ["a"] * 30 + ["b"] * 50
    index = find_units(groups, np.sin(np.arange(80) / 15)[None]).index
    assert not set(index[:30]) & set(index[30:])


def test_autocorrelation_is_recovered():
    rng = np.random.default_rng(0)
    series = np.array([np.ravel(drawn) for drawn in rng.normal(size=(40, 200))])
    for index in range(1, 200):
        series[:, index] = 0.7 * series[:, index - 1] + np.sqrt(1 - 0.49) * series[:, index]
    assert autocorrelation(series, np.zeros(200, int)) == pytest.approx(0.7, abs=0.03)
    assert autocorrelation(rng.normal(size=(40, 200)), np.zeros(200, int)) < 0.05
    assert autocorrelation(series, np.arange(200)) == 0, "no two images of one group"


def test_mean_of_datasets_is_a_combination_of_independent_means():
    # Seeds alone, on two datasets: the mean of two means, as Welch and Satterthwaite combine them.
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.5, 0.02, (4, 1)), rng.normal(0.6, 0.05, (6, 1))
    joint = mean_estimate([estimate(seeds_only(each), independent(10)) for each in (a, b)])
    difference = stats.ttest_ind(a, -b, equal_var=False).confidence_interval(0.95)
    expected = np.stack([difference.low, difference.high], -1) / 2
    np.testing.assert_allclose(joint.interval(), expected)
    np.testing.assert_allclose(joint.value, (a.mean() + b.mean()) / 2)
    assert not mean_estimate([estimate(seeds_only(each), independent(10)) for each in (a, b[:1])]).covers_seeds
