"""How often each class occurs in a split, and the class weights that two papers make of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from rich.progress import track

from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.errors import UserError


class PixelCounts(NamedTuple):
    """What was counted over a split: int64 [C] each. Void pixels are in none of the counts."""

    pixels: np.ndarray
    """Pixels of each class."""
    images: np.ndarray
    """Images in which the class occurs."""
    pixels_of_images: np.ndarray
    """Pixels, of any class, of the images in which the class occurs."""


class Method(NamedTuple):
    """A way to weight classes."""

    formula: str
    """In words, with its source."""
    weights: Callable[[PixelCounts, Sequence[str]], np.ndarray]
    """From counts and class names to float64 [C]; raises UserError where a weight is undefined."""


def count_classes(dataset: SegmentationDataset, num_classes: int) -> PixelCounts:
    """Counts the label images of a dataset, as they are on disk; images are not read, and nothing is augmented.

    Raises:
        UserError: A label image cannot be read, or holds a value that is no class.
    """
    counts = PixelCounts(*np.zeros((3, num_classes), np.int64))
    for index in track(range(len(dataset)), description="Reading labels", transient=True):
        pixels = np.bincount(dataset.labels(index).ravel(), minlength=num_classes)[:num_classes]
        occurs = pixels > 0
        counts.pixels[:] += pixels
        counts.images[:] += occurs
        counts.pixels_of_images[:] += occurs * pixels.sum()
    return counts


def median_frequency(counts: PixelCounts, names: Sequence[str]) -> np.ndarray:
    """Median frequency balancing: the class of median frequency weighs 1, rarer ones more."""
    absent = [name for name, pixels in zip(names, counts.pixels, strict=True) if pixels == 0]
    if absent:
        raise UserError(
            f"no pixel of the training split is {', '.join(absent)}, so that median_frequency would divide by zero. "
            "Use --method inverse_log, which gives a class without pixels the largest weight, 50.5, or a larger split."
        )
    frequency = counts.pixels / counts.pixels_of_images
    return np.median(frequency) / frequency


def inverse_log(counts: PixelCounts, names: Sequence[str]) -> np.ndarray:
    """ENet's weights, which lie between 1.4 for a class that fills the split and 50.5 for one that is nowhere in it."""
    if not counts.pixels.any():
        raise UserError("the label images of the training split hold nothing but void, so no class has a share.")
    return 1 / np.log(1.02 + counts.pixels / counts.pixels.sum())


METHODS = {
    "median_frequency": Method(
        "weight(c) = median of freq over the classes / freq(c); freq(c) = pixels of c / pixels of all classes in the "
        "images where c occurs (Eigen and Fergus, ICCV 2015)",
        median_frequency,
    ),
    "inverse_log": Method(
        "weight(c) = 1 / ln(1.02 + p(c)); p(c) = pixels of c / pixels of all classes (ENet: Paszke et al., 2016)",
        inverse_log,
    ),
}
