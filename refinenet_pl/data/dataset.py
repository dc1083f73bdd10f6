"""Reads images and label images into samples."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision import tv_tensors

from refinenet_pl.archive_paths import AnyPath
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.decoded_cache import DecodedCache
from refinenet_pl.data.labels import color_text
from refinenet_pl.data.randomness import random_numbers_of
from refinenet_pl.errors import UserError
from refinenet_pl.images import orientation, read_image, read_mask
from refinenet_pl.text import join

MAX_LABEL = 65535  # label images of 16 bits hold no more
MAX_COLOR = 0xFFFFFF
UNKNOWN = -1  # in the lookup table of class indices: the dataset has no such label value


class Sample(NamedTuple):
    """The files of one sample."""

    image: AnyPath
    mask: AnyPath | None
    """The label image; None for images without labels."""
    name: str
    """Identifies the sample in results and output files. It is unique in its split."""


class SegmentationDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Reads samples and converts their labels to class indices.

    A sample is {"image": tv_tensors.Image uint8 [3, H, W], "mask": tv_tensors.Mask uint8 [H, W], "name": str}. The mask
    holds 0..num_classes - 1, and IGNORE_INDEX for ignored pixels.

    Args:
        samples: The files to read. Every sample has a label image.
        num_classes: Number of classes.
        encoding: The class index (or IGNORE_INDEX) of each value, 0..65535, that label images may hold. None: they
            hold 0..num_classes - 1 and IGNORE_INDEX already.
        transform: Applied to each sample. None: samples stay as they are on disk.
        colored: Whether label images are RGB images, and `encoding` has their colors, 0xRRGGBB.

    Attributes:
        cache: Where samples are read from instead of their files, or None.

    Raises:
        UserError: There are fewer than 2 classes or more than 255, or a value or class index of `encoding` is outside
            its range.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        num_classes: int,
        encoding: Mapping[int, int] | None = None,
        transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        colored: bool = False,
    ) -> None:
        self.samples = samples
        self.transform = transform
        self.cache: DecodedCache | None = None
        self.colored = colored
        self.encoding = (
            {**{i: i for i in range(num_classes)}, IGNORE_INDEX: IGNORE_INDEX} if encoding is None else dict(encoding)
        )
        _check_encoding(self.encoding, num_classes, MAX_COLOR if colored else MAX_LABEL)
        self._table = np.full(max(self.encoding) + 1, UNKNOWN, dtype=np.int16)
        self._table[list(self.encoding)] = list(self.encoding.values())

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read a sample.

        Raises:
            UserError: A file cannot be read, image and label image differ in size, or a label value is not a class.
        """
        sample = self.samples[index]
        image, mask = self.read(index)
        result = {"image": image, "mask": tv_tensors.Mask(torch.from_numpy(mask)), "name": sample.name}
        if self.transform is None:
            return result
        with random_numbers_of(index):
            return self.transform(result)

    def read(self, index: int) -> tuple[tv_tensors.Image, np.ndarray]:
        """Read the image, uint8 [3, H, W], and the class indices, uint8 [H, W], of a sample; see `__getitem__`."""
        if self.cache is not None:
            return self.cache.image(index), self.cache.mask(index)
        sample = self.samples[index]
        image, mask = read_image(sample.image), self.mask(index)
        self.check_size(sample, mask.shape, image.shape[1:])
        return image, mask

    def plain(self) -> "SegmentationDataset":
        """Return the same samples without augmentation."""
        dataset = copy(self)
        dataset.transform = None
        return dataset

    def check_size(self, sample: Sample, mask_size: Sequence[int], image_size: Sequence[int]) -> None:
        """Check that a label image has the size of its image, each height and width; raises UserError."""
        if tuple(mask_size) != tuple(image_size):
            raise UserError(
                f"{sample.mask}: the label image is {_size(mask_size)} pixels, but its image {sample.image} is "
                f"{_size(image_size)} (height x width). Both must have the same size: "
                f"{_size_advice(orientation(sample.image))}"
            )

    def mask(self, index: int) -> np.ndarray:
        """Read only the class indices of a sample, not augmented: uint8 [H, W]. Raises what `__getitem__` raises."""
        if self.cache is not None:
            return self.cache.mask(index)
        path = self.samples[index].mask
        assert path is not None
        return self.class_indices(self.raw_mask(index), path)

    def raw_mask(self, index: int) -> np.ndarray:
        """Read the values of a sample's label image as they are stored; raises UserError if it cannot be read."""
        path = self.samples[index].mask
        assert path is not None
        return read_mask(path, self.colored)

    def class_indices(self, raw: np.ndarray, path: AnyPath) -> np.ndarray:
        """Return the class indices, uint8, of the values in a label image; raises UserError if one is no class."""
        in_table = raw.size == 0 or (raw.min() >= 0 and raw.max() < len(self._table))
        mask = self._table[raw] if in_table else None
        if mask is None or (mask == UNKNOWN).any():
            found = sorted(set(np.unique(raw).tolist()) - self.encoding.keys())
            show = color_text if self.colored else str
            raise UserError(
                f"{path}: contains label {'colors' if self.colored else 'values'} that are not a class: "
                f"{join(map(show, found), limit=40)}. Expected only "
                f"{join(map(show, sorted(self.encoding)), limit=40)}. "
                "Check that this is the right dataset, and a label image rather than a picture of one; or give the "
                f"class of each in data.label_ids, such as {{{show(found[0])!r}: void}}."
            )
        return mask.astype(np.uint8)


def _check_encoding(encoding: Mapping[int, int], num_classes: int, highest: int) -> None:
    if not 2 <= num_classes <= IGNORE_INDEX:
        raise UserError(
            f"the dataset has {num_classes} {'class' if num_classes == 1 else 'classes'}; expected 2..{IGNORE_INDEX}, "
            f"because masks hold class indices of 8 bits and {IGNORE_INDEX} for ignored pixels. "
            + ("Make the rest of each image a class, such as background." if num_classes < 2 else "Merge rare classes.")
        )
    if wrong := [value for value in encoding if not 0 <= value <= highest]:
        raise UserError(f"the encoding has the label values {join(wrong, limit=5)}; expected 0..{highest}")
    if wrong := sorted(set(encoding.values()) - {*range(num_classes), IGNORE_INDEX}):
        raise UserError(
            f"the encoding maps label values to the class indices {join(wrong, limit=5)}; expected "
            f"0..{num_classes - 1}, or {IGNORE_INDEX} for ignored pixels"
        )


def _size_advice(exif_orientation: int) -> str:
    if exif_orientation == 1:
        return "use the label image that was drawn for this image."
    return (
        f"viewers turn this image, because its EXIF orientation is {exif_orientation}, but images with labels are read "
        "as they are stored. Save the image upright, without an orientation."
    )


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"
