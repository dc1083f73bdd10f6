"""Reads images and label images into samples."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision import tv_tensors

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.randomness import random_numbers_of
from refinenet_pl.errors import UserError
from refinenet_pl.images import read_image, read_mask
from refinenet_pl.text import join

UNKNOWN = -1  # in the lookup table of class indices: the dataset has no such label value


class Sample(NamedTuple):
    """The files of one sample."""

    image: Path
    mask: Path | None
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
        label_ids: The class index (or IGNORE_INDEX) of each value, 0..255, that label images may hold. None: they hold
            0..num_classes - 1 and IGNORE_INDEX already.
        transform: Applied to each sample. None: samples stay as they are on disk.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        num_classes: int,
        label_ids: Mapping[int, int] | None = None,
        transform: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self.samples = samples
        self.transform = transform
        self._label_ids = (
            {**{i: i for i in range(num_classes)}, IGNORE_INDEX: IGNORE_INDEX} if label_ids is None else dict(label_ids)
        )
        self._table = np.full(256, UNKNOWN, dtype=np.int16)
        self._table[list(self._label_ids)] = list(self._label_ids.values())

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read a sample.

        Raises:
            UserError: A file cannot be read, image and label image differ in size, or a label value is not a class.
        """
        sample = self.samples[index]
        image = read_image(sample.image)
        mask = self.mask(index)
        if mask.shape != image.shape[1:]:
            raise UserError(
                f"{sample.mask}: the label image is {_size(mask.shape)} pixels, but its image {sample.image} is "
                f"{_size(image.shape[1:])} (height x width). Both must have the same size: "
                "use the label image that was drawn for this image."
            )
        result = {"image": image, "mask": tv_tensors.Mask(torch.from_numpy(mask)), "name": sample.name}
        if self.transform is None:
            return result
        with random_numbers_of(index):
            return self.transform(result)

    def mask(self, index: int) -> np.ndarray:
        """Read only the class indices of a sample, not augmented: uint8 [H, W]. Raises what `__getitem__` raises."""
        path = self.samples[index].mask
        assert path is not None
        return self._class_indices(read_mask(path), path)

    def _class_indices(self, raw: np.ndarray, path: str | Path) -> np.ndarray:
        in_table = raw.dtype == np.uint8 or (raw.min() >= 0 and raw.max() <= 255)
        mask = self._table[raw] if in_table else None
        if mask is None or mask.min() == UNKNOWN:
            found = sorted(set(np.unique(raw).tolist()) - self._label_ids.keys())
            raise UserError(
                f"{path}: contains label values that are not a class: {join(found, limit=40)}. "
                f"Expected only {join(sorted(self._label_ids), limit=40)}. "
                "Check that this is the right dataset, and a label image rather than a color picture of one."
            )
        return mask.astype(np.uint8)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"
