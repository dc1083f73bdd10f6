"""Images that look nearly the same, found by a perceptual hash."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

ROWS, COLUMNS = 8, 8
FLAT = 4.0
"""Images whose reduced gray values deviate by less, 0..255, such as night or fog: their hash is noise."""
NEAR = 4
"""Two images look nearly the same if their hashes differ in at most so many of the 64 bits."""
BLOCK = 2048
"""Images of one split that are compared with all of the other at a time, so that 10,000 fit into the memory."""


class NearPair(NamedTuple):
    """Two images that look nearly the same, by their positions, and how many bits of their hashes differ."""

    first: int
    second: int
    bits: int


def perceptual_hash(image: Image.Image) -> np.ndarray | None:
    """Return the difference hash of an RGB image: which cells of a reduced gray image are darker than their left ones.

    The gray image is reduced to 8 rows of 9 cells, each the average of its pixels. Another encoding, another size or
    another brightness of an image hardly changes the hash.

    Returns:
        bool [64]; None for a flat image.
    """
    cells = np.asarray(image.convert("L").resize((COLUMNS + 1, ROWS), Image.Resampling.BOX)).astype(np.int16)
    if cells.std() < FLAT:
        return None
    return (cells[:, 1:] < cells[:, :-1]).ravel()


def near_duplicates(first: Sequence[np.ndarray | None], second: Sequence[np.ndarray | None]) -> list[NearPair]:
    """Return the pairs of images of two splits that look nearly the same, the most similar first.

    Args:
        first: Hash of each image of a split.
        second: Hash of each image of another split.
    """
    return sorted(_pairs(first, second), key=lambda pair: (pair.bits, pair))


def _pairs(first: Sequence[np.ndarray | None], second: Sequence[np.ndarray | None]) -> Iterator[NearPair]:
    rows, hashes = _signs(first)
    columns, others = _signs(second)
    for start in range(0, len(hashes), BLOCK):
        # The product of two signs is 1 where bits agree and -1 where they differ.
        bits = (ROWS * COLUMNS - hashes[start : start + BLOCK] @ others.T) / 2
        for row, column in np.argwhere(bits <= NEAR):
            yield NearPair(rows[start + row], columns[column], int(bits[row, column]))


def _signs(hashes: Sequence[np.ndarray | None]) -> tuple[list[int], np.ndarray]:
    """Return the positions of the hashes that are not None, and these hashes as 1 and -1, float32 [n, 64]."""
    known = [(index, each) for index, each in enumerate(hashes) if each is not None]
    signs = np.array([each for _, each in known], np.float32).reshape(-1, ROWS * COLUMNS) * 2 - 1
    return [index for index, _ in known], signs
