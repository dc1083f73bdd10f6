"""Reads a sample once, and keeps what checks and statistics need: its faults, sizes, hashes and counts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.data.labels import color_text
from refinenet_pl.data.near_duplicates import perceptual_hash
from refinenet_pl.data.parallel import map_samples
from refinenet_pl.errors import UserError
from refinenet_pl.images import read_image
from refinenet_pl.text import join

UNREADABLE_IMAGE = "image that cannot be read"
UNREADABLE_LABELS = "label image that cannot be read"
OTHER_SIZE = "label image of another size than its image (height x width)"
NO_CLASS = "label value that is no class"
SAMPLE_FAULTS = (UNREADABLE_IMAGE, UNREADABLE_LABELS, OTHER_SIZE, NO_CLASS)
"""What can be wrong with a sample."""


@dataclass(frozen=True)
class SampleFacts:
    """What one sample holds. What could not be read is None.

    Attributes:
        faults: One of SAMPLE_FAULTS and a line with the file, for each fault.
        size: Height and width of the image in pixels.
        content: Hash of the image's size and pixels.
        perceptual_hash: See `near_duplicates.perceptual_hash`; None for a flat image too.
        color_sums: Sum of the pixels of each channel, and sum of their squares, exact: int64 [2, 3].
        pixels: Pixels of each class index, int64 [256].
    """

    faults: tuple[tuple[str, str], ...] = ()
    size: tuple[int, int] | None = None
    content: str | None = None
    perceptual_hash: np.ndarray | None = None
    color_sums: np.ndarray | None = None
    pixels: np.ndarray | None = None


def inspect(
    dataset: SegmentationDataset, workers: int, description: str, values_known: bool = True
) -> list[SampleFacts]:
    """Read all samples of a split once, without augmentation.

    Args:
        dataset: The split, without transform.
        workers: Most processes to start.
        description: What the progress bar says.
        values_known: Whether to check that the label values are classes. If not, their pixels are not counted.
    """
    return map_samples(partial(_facts, dataset, values_known), len(dataset), workers, description)


def _facts(dataset: SegmentationDataset, values_known: bool, index: int) -> SampleFacts:
    sample = dataset.samples[index]
    faults: list[tuple[str, str]] = []
    image: np.ndarray | None = None
    raw: np.ndarray | None = None
    try:
        image = read_image(sample.image).permute(1, 2, 0).contiguous().numpy()
    except UserError as error:
        faults.append((UNREADABLE_IMAGE, str(error)))
    try:
        raw = dataset.raw_mask(index)
    except UserError as error:
        faults.append((UNREADABLE_LABELS, str(error)))
    if image is not None and raw is not None and raw.shape != image.shape[:2]:
        sizes = [f"{height} x {width}" for height, width in (raw.shape, image.shape[:2])]
        faults.append((OTHER_SIZE, f"{sample.mask}: {sizes[0]}, but {sample.image} is {sizes[1]}"))
    pixels = None
    if raw is not None and values_known:
        assert sample.mask is not None
        try:
            pixels = np.bincount(dataset.class_indices(raw, sample.mask).ravel(), minlength=IGNORE_INDEX + 1)
        except UserError:
            values = sorted(set(np.unique(raw).tolist()) - dataset.encoding.keys())
            shown = join(map(color_text if dataset.colored else str, values), limit=10)
            faults.append((NO_CLASS, f"{sample.mask}: {shown}"))
    if image is None:
        return SampleFacts(tuple(faults), pixels=pixels)
    picture = Image.fromarray(image)
    return SampleFacts(
        tuple(faults),
        size=(picture.height, picture.width),
        content=hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest(),
        perceptual_hash=perceptual_hash(picture),
        color_sums=_color_sums(picture.histogram()),
        pixels=pixels,
    )


def _color_sums(histogram: Sequence[int]) -> np.ndarray:
    """Return sum and sum of squares of each channel, int64 [2, 3], from Pillow's histogram of an RGB image."""
    counts, values = np.array(histogram, np.int64).reshape(3, 256), np.arange(256)
    return np.stack([counts @ values, counts @ values**2])
