"""Statistics of a split: pixels and images of each class, sizes of the images, mean and deviation of their pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refinenet_pl.data.class_weights import PixelCounts, image_counts
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.inspection import SampleFacts
from refinenet_pl.errors import UserError

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class SplitStatistics:
    """Statistics of a split.

    Attributes:
        counts: Pixels and images of each class.
        ignored: Number of ignored pixels.
        ignored_images: Number of images with ignored pixels.
        sizes: Size of each image, from the fewest to the most pixels.
        mean: Mean of each channel over all pixels, scaled to 0..1, float64 [3]. An image counts by its pixels.
        deviation: Standard deviation of each channel over all pixels, scaled to 0..1, float64 [3].
    """

    counts: PixelCounts
    ignored: int
    ignored_images: int
    sizes: list[Size]
    mean: np.ndarray
    deviation: np.ndarray


def split_statistics(facts: Sequence[SampleFacts], num_classes: int) -> SplitStatistics:
    """Return the statistics of a split.

    Args:
        facts: The facts of its samples.
        num_classes: Number of classes.

    Raises:
        UserError: A sample has a fault.
    """
    faults = [line for sample in facts for _, line in sample.faults]
    if faults:
        raise UserError(
            f"{len(faults)} samples have faults. The first is {faults[0]}. To list all: refinenet data check"
        )
    pixels = np.stack([sample.pixels for sample in facts if sample.pixels is not None])
    sizes = [sample.size for sample in facts if sample.size is not None]
    # Exact integers.
    sums, squares = np.stack([sample.color_sums for sample in facts if sample.color_sums is not None]).sum(0)
    area = sum(height * width for height, width in sizes)
    mean = sums / (255 * area)
    return SplitStatistics(
        image_counts(pixels[:, :num_classes]),
        ignored=int(pixels[:, IGNORE_INDEX].sum()),
        ignored_images=int((pixels[:, IGNORE_INDEX] > 0).sum()),
        sizes=sorted(sizes, key=lambda size: (size[0] * size[1], size)),
        mean=mean,
        deviation=np.sqrt(squares / (255**2 * area) - mean**2),
    )
