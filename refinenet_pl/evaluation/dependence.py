"""Images that depend on each other: the units of a split that are independent, or nearly so.

Frames of one drive resemble each other, so a hundred of them say less than a hundred images of different places. The
intervals therefore count units: images, groups of images (drives, cities, scenes), or blocks of consecutive frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refinenet_pl.text import plural

MIN_GROUPS = 5
"""Fewest groups that can be units. Fewer say too little about how groups differ."""
MIN_BLOCKS = 5
"""Fewest blocks. With fewer, the intervals are too wide to be of use."""
BLOCK_TIMES = 3
"""Length of a block, in multiples of the time in which frames become independent. `docs/intervals.md` has the coverage
of the intervals that simulations gave for it."""


@dataclass(frozen=True)
class Units:
    """The units of a split.

    Attributes:
        index: The unit of each image, integers [images], from 0.
        kind: "images", "groups" or "blocks".
        inflation: Factor of the variance for the dependence that is left between neighboring blocks; 1 for others.
        groups: Number of groups of images; 0 for independent images.
    """

    index: np.ndarray
    kind: str
    inflation: float = 1.0
    groups: int = 0

    @property
    def count(self) -> int:
        """Number of units."""
        return int(self.index.max()) + 1 if len(self.index) else 0

    def sums(self, influence: np.ndarray) -> np.ndarray:
        """Return the influences [..., images, M] summed over each unit, [..., units, M]."""
        totals = np.zeros((*influence.shape[:-2], self.count, influence.shape[-1]))
        np.add.at(np.moveaxis(totals, -2, 0), self.index, np.moveaxis(influence, -2, 0))
        return totals

    def describe(self) -> str:
        """Return what the units are, such as "7 blocks of consecutive frames of 1 group"."""
        if self.kind == "blocks":
            return f"{plural(self.count, 'block')} of consecutive frames of {plural(self.groups, 'group')}"
        if self.kind == "groups":
            return f"{plural(self.count, 'group')} of images"
        return f"{plural(self.count, 'independent image')}"


def find_units(groups: Sequence[str], influence: np.ndarray) -> Units:
    """Return the units of images in the order of their names.

    - Images without group are independent: each is a unit.
    - `MIN_GROUPS` groups or more are units.
    - Fewer groups are divided into blocks of consecutive frames. The autocorrelation of neighboring frames sets their
      length; frames that do not resemble each other stay single.

    Args:
        groups: The group of each image; empty for an independent image.
        influence: The influence of each image on the mean IoU in one or several runs, [runs, images].
    """
    names, index = np.unique([group or f"\n{i}" for i, group in enumerate(groups)], return_inverse=True)
    if not any(groups):
        return Units(np.arange(len(groups)), "images")
    if len(names) >= MIN_GROUPS:
        return Units(index, "groups", groups=len(names))
    return _blocks(index, len(names), autocorrelation(influence, index))


def autocorrelation(influence: np.ndarray, group: np.ndarray) -> float:
    """Return the correlation between neighboring frames of a group, 0..0.99, averaged over runs.

    The estimate from n frames is about (1 + 3 r) / n too low; this is added.

    Args:
        influence: Values of each image, [runs, images].
        group: The group of each image, integers [images].
    """
    images = influence.shape[1]
    centered = influence - influence.mean(axis=1, keepdims=True)
    neighbors = group[1:] == group[:-1]
    squares = (centered**2).sum(axis=1)
    if images < 3 or not neighbors.any() or not squares.any():
        return 0.0
    products = (centered[:, 1:] * centered[:, :-1])[:, neighbors].sum(axis=1)
    correlation = float((products[squares > 0] / squares[squares > 0]).mean())
    return min(max(correlation + (1 + 3 * correlation) / images, 0.0), 0.99)


def _blocks(group: np.ndarray, groups: int, correlation: float) -> Units:
    images = len(group)
    longest = max(images / MIN_BLOCKS, 1)
    length = min(BLOCK_TIMES * (1 + correlation) / (1 - correlation), longest) if correlation > 0 else 1.0
    index = np.empty(images, np.int64)
    start = 0
    for number in range(groups):
        members = np.flatnonzero(group == number)
        blocks = max(int(len(members) // length), 1)
        index[members] = start + np.arange(len(members)) * blocks // len(members)
        start += blocks
    mean_length = images / start
    # The variance of the mean of a first-order autoregressive process, over what blocks of this length show of it.
    seen = 1 - 2 * correlation * (1 - correlation**mean_length) / (mean_length * (1 - correlation**2))
    return Units(index, "blocks", 1 / max(seen, 0.2), groups)
