"""Images and label images, read from disk into samples."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision import tv_tensors

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError
from refinenet_pl.images import read_image, read_mask

UNKNOWN = -1  # in a label table: this raw value means nothing in this dataset


class Sample(NamedTuple):
    """Where one sample lies, before it is read."""

    image: Path
    mask: Path | None
    """None where there are no labels."""
    name: str
    """Names the sample in results, and the files made from it; unique in its split."""


class SegmentationDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Reads samples and gives their labels as train ids.

    A sample is {"image": tv_tensors.Image uint8 [3, H, W], "mask": tv_tensors.Mask uint8 [H, W], "name": str}; the mask
    holds 0..num_classes - 1, and IGNORE_INDEX where a pixel has no class.

    Args:
        samples: What to read; every sample has a mask.
        num_classes: How many classes there are.
        label_ids: The train id (or IGNORE_INDEX) of each value 0..255 that label images may hold. None: 0..num_classes - 1
            and IGNORE_INDEX stand for themselves.
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
        """Reads a sample.

        Raises:
            UserError: A file cannot be read, the two sizes differ, or the mask holds a value that is no class.
        """
        sample = self.samples[index]
        image = read_image(sample.image)
        mask = self.labels(index)
        if mask.shape != image.shape[1:]:
            raise UserError(
                f"{sample.mask}: the labels are {_size(mask.shape)} pixels, but their image {sample.image} is "
                f"{_size(image.shape[1:])} (height x width). Labels must have their image's size: "
                "find the label image that was drawn for it."
            )
        read = {"image": image, "mask": tv_tensors.Mask(torch.from_numpy(mask)), "name": sample.name}
        return read if self.transform is None else self.transform(read)

    def labels(self, index: int) -> np.ndarray:
        """The train ids of a sample as they are on disk, without its image: uint8 [H, W]; raises UserError."""
        path = self.samples[index].mask
        assert path is not None
        return self._train_ids(read_mask(path), path)

    def _train_ids(self, raw: np.ndarray, path: Path) -> np.ndarray:
        fits = raw.dtype == np.uint8 or (raw.min() >= 0 and raw.max() <= 255)
        mask = self._table[raw] if fits else None
        if mask is None or mask.min() == UNKNOWN:
            found = sorted(set(np.unique(raw).tolist()) - self._label_ids.keys())
            raise UserError(
                f"{path}: holds label values that are no class: {_listed(found)}. "
                f"Expected only {_listed(sorted(self._label_ids))}. "
                "Is this the right dataset, and its label image rather than a picture of it?"
            )
        return mask.astype(np.uint8)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _listed(values: Sequence[int], most: int = 40) -> str:
    return ", ".join(map(str, values[:most])) + (f" ... ({len(values)} in all)" if len(values) > most else "")
