"""How often each class occurs in a split, and the class weights that two papers compute from it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.errors import UserError
from refinenet_pl.progress import track
from refinenet_pl.text import join


class PixelCounts(NamedTuple):
    """Counts over a split, int64 [C] each. Ignored pixels are in none of them."""

    pixels: np.ndarray
    """Pixels of each class."""
    images: np.ndarray
    """Images that contain the class."""
    pixels_in_images: np.ndarray
    """Pixels, of any class, in the images that contain the class."""


class WeightingMethod(NamedTuple):
    """A formula for class weights."""

    formula: str
    """The formula as text, with its source."""
    compute: Callable[[PixelCounts, Sequence[str]], np.ndarray]
    """Computes float64 [C] from counts and class names; raises UserError if a weight is undefined."""


def count_classes(dataset: SegmentationDataset, num_classes: int) -> PixelCounts:
    """Count the pixels of each class in the label images of a dataset, without augmentation. Images are not read.

    Raises:
        UserError: A label image cannot be read, or contains a value that is not a class.
    """
    with track(range(len(dataset)), "Reading labels") as indices:
        pixels = [np.bincount(dataset.mask(index).ravel(), minlength=num_classes)[:num_classes] for index in indices]
    return image_counts(np.stack(pixels))


def image_counts(pixels: np.ndarray) -> PixelCounts:
    """Return the counts over a split from the pixels of each class in each of its images, int64 [N, C]."""
    occurs = pixels > 0
    return PixelCounts(pixels.sum(0), occurs.sum(0), (occurs * pixels.sum(1, keepdims=True)).sum(0))


def median_frequency(counts: PixelCounts, class_names: Sequence[str]) -> np.ndarray:
    """Compute median frequency balancing: the class of median frequency gets weight 1, rarer classes get more."""
    absent = [name for name, pixels in zip(class_names, counts.pixels, strict=True) if pixels == 0]
    if absent:
        raise UserError(
            f"no pixel of the training split is {join(absent)}, so median_frequency would divide by zero. Use "
            "--method inverse_log, which gives a class without pixels the largest weight, 50.5, or a larger split."
        )
    frequency = counts.pixels / counts.pixels_in_images
    return np.median(frequency) / frequency


def inverse_log(counts: PixelCounts, class_names: Sequence[str]) -> np.ndarray:
    """Compute ENet's weights: from 1.4 for a class that fills the split to 50.5 for a class that is absent."""
    if not counts.pixels.any():
        raise UserError("all pixels of the training split are ignored, so the class frequencies are undefined")
    return 1 / np.log(1.02 + counts.pixels / counts.pixels.sum())


METHODS = {
    "median_frequency": WeightingMethod(
        "weight(c) = median of freq over all classes / freq(c); freq(c) = pixels of c / pixels of all classes in the "
        "images that contain c (Eigen and Fergus, ICCV 2015)",
        median_frequency,
    ),
    "inverse_log": WeightingMethod(
        "weight(c) = 1 / ln(1.02 + p(c)); p(c) = pixels of c / pixels of all classes (ENet: Paszke et al., 2016)",
        inverse_log,
    ),
}
