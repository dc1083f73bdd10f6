"""Percentile bootstrap over images: how much a metric of a split depends on which images the split holds.

Each resample draws as many images as the split has, with replacement. The intervals assume that images are independent;
frames of one drive are not, and their intervals are too narrow. Retraining with another seed is not covered.
"""

import numpy as np
import torch

from refinenet_pl.evaluation.metrics import iou
from refinenet_pl.evaluation.per_image import ImageMatrices

RESAMPLES = 10_000
LEVEL = 0.95
COUNTS_PER_CHUNK = 1_000_000
"""Image counts (resamples x images) that are drawn at a time; they take 8 bytes each, twice."""


def resampled_iou(images: ImageMatrices, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Compute the IoU of each class over each resample of the images.

    The resamples depend only on the seed and the number of images. So runs on the same images get the same resamples,
    which pairs them.

    Returns:
        float64 [resamples, C] in 0..1. NaN where a resample has no pixel of a class in target and prediction, and
        everywhere if there are fewer than two images.
    """
    count = len(images.names)
    if count < 2:
        return np.full((resamples, len(images.class_names)), np.nan)
    pixels = np.hstack([images.correct_pixels(), images.target_pixels(), images.predicted_pixels()])
    rng = np.random.default_rng(seed)
    chunk = max(1, COUNTS_PER_CHUNK // count)
    # How often each resample draws each image, times the pixels of each image. Chunks do not change the random stream.
    sums = [
        rng.multinomial(count, np.full(count, 1 / count), min(chunk, resamples - start)).astype(np.float64) @ pixels
        for start in range(0, resamples, chunk)
    ]
    correct, target, predicted = torch.from_numpy(np.concatenate(sums)).chunk(3, dim=1)
    return iou(correct, target, predicted).numpy()


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Return both ends of the central `level` of a metric's resampled values.

    Args:
        values: float64 [resamples]. NaN values are left out.
        level: Share of the values inside the interval, 0..1.

    Returns:
        The low and the high end; NaN if no value is defined.
    """
    defined = values[~np.isnan(values)]
    if not defined.size:
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
