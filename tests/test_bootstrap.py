"""Intervals against scipy's bootstrap, and against draws from a population that is known."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from refinenet_pl.evaluation.bootstrap import interval, mean_over_classes, resampled_iou
from refinenet_pl.evaluation.per_image import ImageMatrices

CLASSES = 4


def population(count: int, seed: int, quality: float = 0.8) -> np.ndarray:
    """Matrices [count, C, C] of images that differ in size, in their classes, and in how well they went."""
    random = np.random.default_rng(seed)
    matrices = random.integers(0, 60, (count, CLASSES, CLASSES))
    share = np.clip(quality + random.normal(0, 0.15, (count, 1)), 0, 1)
    matrices[:, range(CLASSES), range(CLASSES)] += (share * random.integers(100, 900, (count, CLASSES))).astype(int)
    matrices[random.random((count, CLASSES)) < 0.4] = 0  # a class that an image lacks
    return matrices


def images_of(matrices: np.ndarray) -> ImageMatrices:
    images = ImageMatrices([f"class {label}" for label in range(matrices.shape[1])])
    for index, matrix in enumerate(matrices):
        images.add(f"{index:05d}", matrix)
    return images


def iou(matrices: np.ndarray) -> np.ndarray:
    """IoU of each class over images [..., n, C, C]."""
    total = matrices.sum(-3)
    hits = np.diagonal(total, axis1=-2, axis2=-1)
    return hits / (total.sum(-1) + total.sum(-2) - hits)


def by_scipy(statistic: Callable[[np.ndarray], np.ndarray], count: int) -> tuple[float, float]:
    """Scipy's interval of a figure of chosen images, indices [..., n]."""
    result = stats.bootstrap(
        (np.arange(count),),
        lambda chosen, axis: statistic(chosen),
        n_resamples=10_000,
        method="percentile",
        batch=1000,
        rng=np.random.default_rng(99),
    )
    return result.confidence_interval.low, result.confidence_interval.high


def test_intervals_are_those_of_scipys_percentile_bootstrap():
    matrices = population(40, seed=0)
    drawn = resampled_iou(images_of(matrices))
    for values, statistic in [
        (mean_over_classes(drawn), lambda chosen: iou(matrices[chosen]).mean(-1)),
        (drawn[:, 0], lambda chosen: iou(matrices[chosen])[..., 0]),
        (drawn[:, 3], lambda chosen: iou(matrices[chosen])[..., 3]),
    ]:
        found = interval(values)
        np.testing.assert_allclose(found, by_scipy(statistic, 40), atol=0.05 * (found[1] - found[0]))


def test_intervals_of_a_difference_are_those_of_scipys_paired_bootstrap():
    a, b = population(40, seed=0), population(40, seed=0, quality=0.9)
    drawn_a, drawn_b = (mean_over_classes(resampled_iou(images_of(matrices))) for matrices in (a, b))
    low, high = interval(drawn_b - drawn_a)
    expected = by_scipy(lambda chosen: iou(b[chosen]).mean(-1) - iou(a[chosen]).mean(-1), 40)
    np.testing.assert_allclose((low, high), expected, atol=0.05 * (high - low))
    others = mean_over_classes(resampled_iou(images_of(a), seed=1))
    unpaired = interval(drawn_b - others)
    assert unpaired[1] - unpaired[0] > 1.5 * (high - low), "pairing takes out what the images have in common"


def test_the_same_seed_gives_the_same_resamples_and_another_others():
    images = images_of(population(30, seed=0))
    first = resampled_iou(images, 500)
    np.testing.assert_array_equal(first, resampled_iou(images, 500))
    assert (first != resampled_iou(images, 500, seed=1)).any()


def test_resamples_are_the_same_however_many_fit_in_a_piece():
    # 3,000 images are resampled a third of a thousand times at once; the first resamples do not depend on how many
    # follow.
    images = images_of(population(3000, seed=0))
    np.testing.assert_allclose(resampled_iou(images, 700)[:400], resampled_iou(images, 400), rtol=1e-12)


def test_a_run_beside_itself_differs_by_nothing():
    images = images_of(population(25, seed=0))
    difference = mean_over_classes(resampled_iou(images)) - mean_over_classes(resampled_iou(images))
    assert interval(difference) == (0, 0)


def test_95_of_100_intervals_hold_the_populations_figure():
    truth = iou(population(200_000, seed=0)).mean()
    held = 0
    for seed in range(200):
        low, high = interval(mean_over_classes(resampled_iou(images_of(population(60, seed=1 + seed)), 1000)))
        held += low <= truth <= high
    # Of 200 intervals 190 are to hold it, with a deviation of 3; percentile intervals of 60 images fall a little short.
    assert 180 <= held <= 198


def test_a_class_of_one_image_is_undefined_where_that_is_not_drawn_and_left_out_of_the_mean():
    matrices = np.array([[[10, 0], [6, 2]]] + 4 * [[[50, 0], [0, 0]]])
    drawn = resampled_iou(images_of(matrices), 2000)
    vanished = np.isnan(drawn[:, 1])
    assert vanished.mean() == pytest.approx((4 / 5) ** 5, abs=0.04)
    np.testing.assert_array_equal(mean_over_classes(drawn)[vanished], drawn[vanished, 0])
    assert interval(drawn[:, 1]) == (0.25, 0.25), "it is 2 of 8 pixels wherever it is drawn"


def test_a_class_that_is_nowhere_has_no_interval():
    matrices = np.zeros((5, 2, 2), np.int64)
    matrices[:, 0, 0] = 7
    drawn = resampled_iou(images_of(matrices), 100)
    assert np.isnan(interval(drawn[:, 1])).all()
    assert interval(mean_over_classes(drawn)) == (1, 1)


def test_one_image_says_nothing_of_others():
    drawn = resampled_iou(images_of(population(1, seed=0)))
    assert np.isnan(interval(mean_over_classes(drawn))).all()


def test_a_higher_level_gives_a_wider_interval_with_the_quantiles_at_its_ends():
    values = np.arange(1001) / 1000
    assert interval(values, 0.9) == pytest.approx((0.05, 0.95))
    assert interval(values, 0.95) == pytest.approx((0.025, 0.975))
