"""Bootstrap intervals against scipy's, and against a known population."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from refinenet_pl.evaluation.bootstrap import interval, resampled_iou
from refinenet_pl.evaluation.metrics import mean_over_classes
from refinenet_pl.evaluation.per_image import ImageMatrices

CLASSES = 4


def population(count: int, seed: int, quality: float = 0.8) -> np.ndarray:
    """Draw matrices [count, C, C] of images that differ in size, classes and quality."""
    rng = np.random.default_rng(seed)
    matrices = rng.integers(0, 60, (count, CLASSES, CLASSES))
    accuracy = np.clip(quality + rng.normal(0, 0.15, (count, 1)), 0, 1)
    matrices[:, range(CLASSES), range(CLASSES)] += (accuracy * rng.integers(100, 900, (count, CLASSES))).astype(int)
    matrices[rng.random((count, CLASSES)) < 0.4] = 0  # classes without target pixels
    return matrices


def image_matrices(matrices: np.ndarray) -> ImageMatrices:
    images = ImageMatrices([f"class {label}" for label in range(matrices.shape[1])])
    for index, matrix in enumerate(matrices):
        images.add(f"{index:05d}", matrix)
    return images


def iou(matrices: np.ndarray) -> np.ndarray:
    """Compute the IoU of each class over images [..., n, C, C]."""
    total = matrices.sum(-3)
    correct = np.diagonal(total, axis1=-2, axis2=-1)
    return correct / (total.sum(-1) + total.sum(-2) - correct)


def scipy_interval(statistic: Callable[[np.ndarray], np.ndarray], count: int) -> tuple[float, float]:
    """Compute scipy's interval of a statistic of image indices [..., n]."""
    result = stats.bootstrap(
        (np.arange(count),),
        lambda indices, axis: statistic(indices),
        n_resamples=10_000,
        method="percentile",
        batch=1000,
        rng=np.random.default_rng(99),
    )
    return result.confidence_interval.low, result.confidence_interval.high


def test_intervals_match_scipy():
    matrices = population(40, seed=0)
    resampled = resampled_iou(image_matrices(matrices))
    for values, statistic in [
        (mean_over_classes(resampled), lambda indices: iou(matrices[indices]).mean(-1)),
        (resampled[:, 0], lambda indices: iou(matrices[indices])[..., 0]),
        (resampled[:, 3], lambda indices: iou(matrices[indices])[..., 3]),
    ]:
        found = interval(values)
        np.testing.assert_allclose(found, scipy_interval(statistic, 40), atol=0.05 * (found[1] - found[0]))


def test_paired_intervals_match_scipy():
    a, b = population(40, seed=0), population(40, seed=0, quality=0.9)
    resampled_a, resampled_b = (mean_over_classes(resampled_iou(image_matrices(matrices))) for matrices in (a, b))
    low, high = interval(resampled_b - resampled_a)
    expected = scipy_interval(lambda indices: iou(b[indices]).mean(-1) - iou(a[indices]).mean(-1), 40)
    np.testing.assert_allclose((low, high), expected, atol=0.05 * (high - low))
    other_resamples = mean_over_classes(resampled_iou(image_matrices(a), seed=1))
    unpaired = interval(resampled_b - other_resamples)
    assert unpaired[1] - unpaired[0] > 1.5 * (high - low), "pairing removes the variation that both runs share"


def test_seed_determines_resamples():
    images = image_matrices(population(30, seed=0))
    first = resampled_iou(images, 500)
    np.testing.assert_array_equal(first, resampled_iou(images, 500))
    assert (first != resampled_iou(images, 500, seed=1)).any()


def test_runs_share_resamples():
    # The runs differ in one image of five, so they agree exactly on the resamples without it.
    a = population(5, seed=0)
    b = a.copy()
    b[0] *= 2
    first, second = (resampled_iou(image_matrices(matrices), 500) for matrices in (a, b))
    same = (first == second) | np.isnan(first)
    assert same.all(axis=1).mean() == pytest.approx((4 / 5) ** 5, abs=0.08)


def test_chunks_give_the_same_resamples(monkeypatch):
    images = image_matrices(population(30, seed=0))
    at_once = resampled_iou(images, 100)
    monkeypatch.setattr("refinenet_pl.evaluation.bootstrap.COUNTS_PER_CHUNK", 30 * 7)
    np.testing.assert_allclose(resampled_iou(images, 100), at_once, rtol=1e-14)


def test_fewer_resamples_are_a_prefix():
    images = image_matrices(population(30, seed=0))
    np.testing.assert_allclose(resampled_iou(images, 70)[:40], resampled_iou(images, 40), rtol=1e-14)


def test_equal_runs_differ_by_zero():
    images = image_matrices(population(25, seed=0))
    difference = mean_over_classes(resampled_iou(images)) - mean_over_classes(resampled_iou(images))
    assert interval(difference) == (0, 0)


def test_intervals_cover_population():
    true_iou = iou(population(200_000, seed=0)).mean()
    covered = 0
    for seed in range(200):
        low, high = interval(mean_over_classes(resampled_iou(image_matrices(population(60, seed=1 + seed)), 1000)))
        covered += low <= true_iou <= high
    # The expectation is 190 of 200 with a deviation of 3. Percentile intervals of 60 images cover a little less.
    assert 180 <= covered <= 198


def test_class_in_one_image_can_vanish():
    matrices = np.array([[[10, 0], [6, 2]]] + 4 * [[[50, 0], [0, 0]]])
    resampled = resampled_iou(image_matrices(matrices), 2000)
    vanished = np.isnan(resampled[:, 1])
    assert vanished.mean() == pytest.approx((4 / 5) ** 5, abs=0.04)
    np.testing.assert_array_equal(mean_over_classes(resampled)[vanished], resampled[vanished, 0])
    assert interval(resampled[:, 1]) == (0.25, 0.25), "2 of 8 pixels in every resample that has the class"


def test_absent_class_has_no_interval():
    matrices = np.zeros((5, 2, 2), np.int64)
    matrices[:, 0, 0] = 7
    resampled = resampled_iou(image_matrices(matrices), 100)
    assert np.isnan(interval(resampled[:, 1])).all()
    assert interval(mean_over_classes(resampled)) == (1, 1)


def test_single_image_has_no_interval():
    resampled = resampled_iou(image_matrices(population(1, seed=0)))
    assert np.isnan(interval(mean_over_classes(resampled))).all()


def test_interval_ends_are_quantiles():
    values = np.arange(1001) / 1000
    assert interval(values, 0.9) == pytest.approx((0.05, 0.95))
    assert interval(values, 0.95) == pytest.approx((0.025, 0.975))
