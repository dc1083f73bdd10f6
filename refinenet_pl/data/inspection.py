"""Reads every sample of a split once, and keeps what checks and statistics need."""

import hashlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.errors import UserError
from refinenet_pl.images import read_image

HASH_ROWS, HASH_COLUMNS = 8, 9
FLAT = 2.0
"""Images whose reduced gray values deviate by less, 0..255, have a perceptual hash that says nothing."""
NEAR = 4
"""Two images whose perceptual hashes differ in at most so many of the 64 bits look nearly the same."""


@dataclass(frozen=True)
class SampleFacts:
    """What one sample holds. What could not be read is None.

    Attributes:
        name: The sample's name.
        errors: Messages about what is wrong with it.
        size: Height and width of the image.
        content: Hash of the image's pixels.
        perceptual_hash: Signs of the differences between neighbors in the reduced gray image, bool [64]; None for a
            flat image.
        colors: How many pixels have each value of each channel, int64 [3, 256].
        pixels: Pixels of each class index, int64 [256].
    """

    name: str
    errors: tuple[str, ...]
    size: tuple[int, int] | None = None
    content: str | None = None
    perceptual_hash: np.ndarray | None = None
    colors: np.ndarray | None = None
    pixels: np.ndarray | None = None


def inspect(dataset: SegmentationDataset, threads: int, description: str) -> list[SampleFacts]:
    """Read all samples of a split, without augmentation.

    Args:
        dataset: The split.
        threads: Samples that are read at a time. Reading an image leaves the other threads running.
        description: What the progress bar says.
    """
    with ThreadPoolExecutor(threads) as pool:
        facts = pool.map(lambda index: _facts(dataset, index), range(len(dataset)))
        console = Console(file=sys.stderr)
        return list(track(facts, description, total=len(dataset), transient=True, console=console))


def _facts(dataset: SegmentationDataset, index: int) -> SampleFacts:
    sample = dataset.samples[index]
    errors: list[str] = []
    image = mask = None
    try:
        image = read_image(sample.image)
    except UserError as error:
        errors.append(str(error))
    try:
        mask = dataset.mask(index)
    except UserError as error:
        errors.append(str(error))
    if image is not None and mask is not None:
        try:
            dataset.check_size(sample, mask.shape, image.shape[1:])
        except UserError as error:
            errors.append(str(error))
    pixels = None if mask is None else np.bincount(mask.ravel(), minlength=IGNORE_INDEX + 1)
    if image is None:
        return SampleFacts(sample.name, tuple(errors), pixels=pixels)
    array = np.ascontiguousarray(image.numpy())
    return SampleFacts(
        sample.name,
        tuple(errors),
        size=(array.shape[1], array.shape[2]),
        content=hashlib.sha256(f"{array.shape}".encode() + array.tobytes()).hexdigest(),
        perceptual_hash=perceptual_hash(image),
        colors=np.stack([np.bincount(channel.ravel(), minlength=256) for channel in array]),
        pixels=pixels,
    )


def perceptual_hash(image: Tensor) -> np.ndarray | None:
    """Return the difference hash of an image: whether each cell of a reduced gray image is brighter than its left one.

    Args:
        image: uint8 [3, H, W].

    Returns:
        bool [64], or None for a flat image.
    """
    gray = image.float().mean(0)
    reduced = F.adaptive_avg_pool2d(gray[None], (HASH_ROWS, HASH_COLUMNS))[0]
    if reduced.std() < FLAT:
        return None
    return (reduced[:, 1:] > reduced[:, :-1]).flatten().numpy()


def same_images(first: Sequence[SampleFacts], second: Sequence[SampleFacts]) -> list[tuple[str, str]]:
    """Return the names of images with equal pixels, one of each split."""
    by_content = {facts.content: facts.name for facts in first if facts.content is not None}
    return [(by_content[facts.content], facts.name) for facts in second if facts.content in by_content]


def similar_images(first: Sequence[SampleFacts], second: Sequence[SampleFacts]) -> list[tuple[str, str, int]]:
    """Return the names of images that look nearly the same but are not equal, one of each split.

    Returns:
        The two names, and the number of bits in which their perceptual hashes differ; the most similar first.
    """
    hashed = [[facts for facts in part if facts.perceptual_hash is not None] for part in (first, second)]
    if not all(hashed):
        return []
    one, other = (torch.tensor(np.stack([facts.perceptual_hash for facts in part])).float() for part in hashed)  # type: ignore[misc]
    # The number of different bits, as a product of matrices: all pairs at once.
    distances = one.sum(1)[:, None] + other.sum(1) - 2 * one @ other.T
    pairs = [
        (hashed[0][row], hashed[1][column], int(distances[row, column]))
        for row, column in (distances <= NEAR).nonzero().tolist()
    ]
    found = [(a.name, b.name, distance) for a, b, distance in pairs if a.content != b.content]
    return sorted(found, key=lambda pair: pair[2])
