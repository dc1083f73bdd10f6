"""How far a figure of a split would move if other images of the kind had been drawn: the percentile bootstrap.

Images are drawn anew with replacement, as many as there are, and every figure is taken of each such resample. What the
spread says holds for images that are independent draws; frames of one drive are not, and their intervals are too
narrow. It says nothing about training: another seed gives other weights, which are no part of this.
"""

import numpy as np

from refinenet_pl.evaluation.per_image import ImageMatrices

RESAMPLES = 10_000
LEVEL = 0.95


def resampled_iou(images: ImageMatrices, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """IoU of each class over each resample of the images.

    The same seed and number of images draw the same resamples, so that two runs over the same images are paired.

    Returns:
        float64 [resamples, C] in 0..1; NaN where a class vanishes from a resample, and everywhere if there are fewer
        than two images, of which nothing can be said.
    """
    if len(images.names) < 2:
        return np.full((resamples, len(images.class_names)), np.nan)
    hits = images.correct_pixels()
    counts = np.hstack([hits, images.target_pixels() + images.predicted_pixels() - hits])
    number, random = len(counts), np.random.default_rng(seed)
    chunk = max(1, 1_000_000 // number)  # resamples at a time: some megabytes of draws
    sums = [
        _times_drawn(random.integers(0, number, (min(chunk, resamples - start), number))) @ counts
        for start in range(0, resamples, chunk)
    ]
    hits, unions = np.hsplit(np.concatenate(sums), 2)
    return np.divide(hits, unions, out=np.full_like(hits, np.nan), where=unions > 0)


def _times_drawn(draws: np.ndarray) -> np.ndarray:
    """How often each image is in each resample, float64 [resamples, images], from indices of that shape."""
    resamples, number = draws.shape
    offsets = number * np.arange(resamples)[:, None]
    return np.bincount((draws + offsets).ravel(), minlength=draws.size).reshape(draws.shape).astype(np.float64)


def mean_over_classes(iou: np.ndarray) -> np.ndarray:
    """Mean IoU, float64 [...], of classes' IoU [..., C]: over those that are there; NaN if none is."""
    there = ~np.isnan(iou)
    sums, count = np.where(there, iou, 0.0).sum(-1), there.sum(-1)
    return np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The two ends of the middle `level` of a figure's values [resamples]; NaN if it is defined in none."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
