"""Percentile bootstrap over images: the interval of a metric if other images of the same kind had been evaluated.

Each resample draws as many images as the split has, with replacement. The intervals assume that images are independent
draws. Video frames are not, so their intervals are too narrow. The intervals do not cover training: another seed gives
other weights.
"""

from collections.abc import Iterator

import numpy as np
import torch

from refinenet_pl.evaluation.metrics import iou
from refinenet_pl.evaluation.per_image import ImageMatrices

RESAMPLES = 10_000
LEVEL = 0.95

CHUNK_ELEMENTS = 1_000_000
"""Largest number of image counts held at once: 8 MB as int64."""


def resampled_iou(images: ImageMatrices, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return the IoU of each class over each resample of the images.

    Runs on the same images are paired: the same seed and number of images give the same resamples.

    Returns:
        float64 [resamples, C] in 0..1. NaN where a resample lacks a class. All NaN for fewer than two images, because
        one image says nothing about others.
    """
    if len(images.names) < 2:
        return np.full((resamples, len(images.class_names)), np.nan)
    per_image = np.hstack([images.correct_pixels(), images.target_pixels(), images.predicted_pixels()])
    sums = [counts @ per_image for counts in _image_counts(len(per_image), resamples, seed)]
    return iou(*torch.from_numpy(np.concatenate(sums)).chunk(3, dim=1)).numpy()


def _image_counts(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each resample draws each image, float64 [some resamples, images], in chunks that bound memory."""
    rng = np.random.default_rng(seed)
    chunk = max(1, CHUNK_ELEMENTS // images)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        yield rng.multinomial(images, np.full(images, 1 / images), size).astype(np.float64)


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Return the two ends of the central interval of a metric's values [resamples]; NaN if all values are NaN."""
    finite = values[~np.isnan(values)]
    if not finite.size:
        return np.nan, np.nan
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
