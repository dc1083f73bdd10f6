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
from refinenet_pl.images import orientation, read_image, read_mask
from refinenet_pl.text import join

MAX_LABEL = 65535  # label images of 16 bits hold no more
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
        label_ids: The class index (or IGNORE_INDEX) of each value, 0..65535, that label images may hold. None: they
            hold 0..num_classes - 1 and IGNORE_INDEX already.
        transform: Applied to each sample. None: samples stay as they are on disk.

    Raises:
        UserError: There are fewer than 2 classes or more than 255, or a value or class index of `label_ids` is outside
            its range.
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
        _check_label_ids(self._label_ids, num_classes)
        self._table = np.full(max(self._label_ids) + 1, UNKNOWN, dtype=np.int16)
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
                f"{_size_advice(orientation(sample.image))}"
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
        in_table = raw.size == 0 or (raw.min() >= 0 and raw.max() < len(self._table))
        mask = self._table[raw] if in_table else None
        if mask is None or (mask == UNKNOWN).any():
            found = sorted(set(np.unique(raw).tolist()) - self._label_ids.keys())
            raise UserError(
                f"{path}: contains label values that are not a class: {join(found, limit=40)}. "
                f"Expected only {join(sorted(self._label_ids), limit=40)}. "
                "Check that this is the right dataset, and a label image rather than a color picture of one."
            )
        return mask.astype(np.uint8)


def _check_label_ids(label_ids: Mapping[int, int], num_classes: int) -> None:
    if not 2 <= num_classes <= IGNORE_INDEX:
        raise UserError(
            f"the dataset has {num_classes} {'class' if num_classes == 1 else 'classes'}; expected 2..{IGNORE_INDEX}, "
            f"because masks hold class indices of 8 bits and {IGNORE_INDEX} for ignored pixels. "
            + ("Make the rest of each image a class, such as background." if num_classes < 2 else "Merge rare classes.")
        )
    if wrong := [value for value in label_ids if not 0 <= value <= MAX_LABEL]:
        raise UserError(f"label_ids has the label values {join(wrong, limit=5)}; expected 0..{MAX_LABEL} (16 bits)")
    if wrong := sorted(set(label_ids.values()) - {*range(num_classes), IGNORE_INDEX}):
        raise UserError(
            f"label_ids maps label values to the class indices {join(wrong, limit=5)}; expected 0..{num_classes - 1}, "
            f"or {IGNORE_INDEX} for ignored pixels"
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
