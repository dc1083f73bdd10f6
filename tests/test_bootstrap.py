"""Bootstrap intervals against scipy's, and against draws from a known population."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from refinenet_pl.evaluation import bootstrap
from refinenet_pl.evaluation.bootstrap import interval, resampled_iou
from refinenet_pl.evaluation.metrics import mean_over_classes
from refinenet_pl.evaluation.per_image import ImageMatrices

CLASSES = 4


def population(count: int, seed: int, quality: float = 0.8) -> np.ndarray:
    """Matrices [count, C, C] of images that differ in size, in their classes, and in quality."""
    rng = np.random.default_rng(seed)
    matrices = rng.integers(0, 60, (count, CLASSES, CLASSES))
    accuracy = np.clip(quality + rng.normal(0, 0.15, (count, 1)), 0, 1)
    matrices[:, range(CLASSES), range(CLASSES)] += (accuracy * rng.integers(100, 900, (count, CLASSES))).astype(int)
    matrices[rng.random((count, CLASSES)) < 0.4] = 0  # classes that the image lacks
    return matrices


def to_images(matrices: np.ndarray) -> ImageMatrices:
    images = ImageMatrices([f"class {index}" for index in range(matrices.shape[1])])
    for index, matrix in enumerate(matrices):
        images.add(f"{index:05d}", matrix)
    return images


def iou(matrices: np.ndarray) -> np.ndarray:
    """IoU of each class over images [..., n, C, C]."""
    total = matrices.sum(-3)
    correct = np.diagonal(total, axis1=-2, axis2=-1)
    return correct / (total.sum(-1) + total.sum(-2) - correct)


def scipy_interval(statistic: Callable[[np.ndarray], np.ndarray], count: int) -> tuple[float, float]:
    """Scipy's interval of a metric of images given by index, [..., n]."""
    result = stats.bootstrap(
        (np.arange(count),),
        lambda indices, axis: statistic(indices),
        n_resamples=10_000,
        method="percentile",
        batch=1000,
        rng=np.random.default_rng(99),
    )
    return result.confidence_interval.low, result.confidence_interval.high


def test_intervals_equal_scipys():
    matrices = population(40, seed=0)
    resampled = resampled_iou(to_images(matrices))
    for values, statistic in [
        (mean_over_classes(resampled), lambda indices: iou(matrices[indices]).mean(-1)),
        (resampled[:, 0], lambda indices: iou(matrices[indices])[..., 0]),
        (resampled[:, 3], lambda indices: iou(matrices[indices])[..., 3]),
    ]:
        found = interval(values)
        np.testing.assert_allclose(found, scipy_interval(statistic, 40), atol=0.05 * (found[1] - found[0]))


def test_paired_intervals_equal_scipys():
    a, b = population(40, seed=0), population(40, seed=0, quality=0.9)
    resampled_a, resampled_b = (mean_over_classes(resampled_iou(to_images(matrices))) for matrices in (a, b))
    low, high = interval(resampled_b - resampled_a)
    expected = scipy_interval(lambda indices: iou(b[indices]).mean(-1) - iou(a[indices]).mean(-1), 40)
    np.testing.assert_allclose((low, high), expected, atol=0.05 * (high - low))
    other_seed = mean_over_classes(resampled_iou(to_images(a), seed=1))
    unpaired = interval(resampled_b - other_seed)
    assert unpaired[1] - unpaired[0] > 1.5 * (high - low), "pairing removes what the images have in common"


def test_seed_determines_resamples():
    images = to_images(population(30, seed=0))
    first = resampled_iou(images, 500)
    np.testing.assert_array_equal(first, resampled_iou(images, 500))
    assert (first != resampled_iou(images, 500, seed=1)).any()


def test_chunks_do_not_change_resamples(monkeypatch):
    images = to_images(population(50, seed=0))
    at_once = resampled_iou(images, 70)
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 50 * 16)
    sizes = [len(counts) for counts in bootstrap._image_counts(50, 70, seed=0)]
    assert sizes == [16, 16, 16, 16, 6]
    np.testing.assert_allclose(resampled_iou(images, 70), at_once, rtol=1e-12)


def test_each_resample_draws_all_images():
    (counts,) = bootstrap._image_counts(30, 2000, seed=0)
    assert (counts.sum(1) == 30).all()
    np.testing.assert_allclose(counts.mean(0), 1, atol=0.15)
    np.testing.assert_allclose(counts.var(0), 29 / 30, atol=0.25)


def test_run_against_itself_is_zero():
    images = to_images(population(25, seed=0))
    difference = mean_over_classes(resampled_iou(images)) - mean_over_classes(resampled_iou(images))
    assert interval(difference) == (0, 0)


def test_intervals_cover_the_population():
    expected = iou(population(200_000, seed=0)).mean()
    covered = 0
    for seed in range(200):
        low, high = interval(mean_over_classes(resampled_iou(to_images(population(60, seed=1 + seed)), 1000)))
        covered += low <= expected <= high
    # 190 of 200 should cover it, with a deviation of 3. Percentile intervals of 60 images cover slightly less.
    assert 180 <= covered <= 198


def test_absent_class_leaves_the_mean():
    matrices = np.array([[[10, 0], [6, 2]]] + 4 * [[[50, 0], [0, 0]]])
    resampled = resampled_iou(to_images(matrices), 2000)
    absent = np.isnan(resampled[:, 1])
    assert absent.mean() == pytest.approx((4 / 5) ** 5, abs=0.04)
    np.testing.assert_array_equal(mean_over_classes(resampled)[absent], resampled[absent, 0])
    assert interval(resampled[:, 1]) == (0.25, 0.25), "2 of 8 pixels in each resample that has the class"


def test_missing_class_has_no_interval():
    matrices = np.zeros((5, 2, 2), np.int64)
    matrices[:, 0, 0] = 7
    resampled = resampled_iou(to_images(matrices), 100)
    assert np.isnan(interval(resampled[:, 1])).all()
    assert interval(mean_over_classes(resampled)) == (1, 1)


def test_one_image_has_no_interval():
    resampled = resampled_iou(to_images(population(1, seed=0)))
    assert np.isnan(interval(mean_over_classes(resampled))).all()


def test_interval_ends_are_quantiles():
    values = np.arange(1001) / 1000
    assert interval(values, 0.9) == pytest.approx((0.05, 0.95))
    assert interval(values, 0.95) == pytest.approx((0.025, 0.975))
