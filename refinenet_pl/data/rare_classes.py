"""Chooses samples that show the rarest classes of a split."""

from typing import Any

import numpy as np
from torch.utils.data import Subset

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.progress import track

LOOKED_AT = 200
"""Most label images that are read. They are spread evenly over the split."""


def rare_class_samples(dataset: Any, count: int, length: int | None = None) -> list[str]:
    """Return the names of samples that show the rarest classes, which are usually the hardest ones.

    Each of the rarest classes in turn gets the sample with most of its pixels. The choice depends on the labels alone.

    Args:
        dataset: The split.
        count: Number of samples.
        length: Number of samples from the start of the split to choose from. None: all of them.
    """
    length = len(dataset) if length is None else min(length, len(dataset))
    indices = np.unique(np.linspace(0, length - 1, min(LOOKED_AT, length)).astype(int)).tolist()
    with track(indices, "choosing pictures") as tracked:
        masks = ((_mask(dataset, index)) for index in tracked)
        pixels = np.stack([np.bincount(mask.ravel(), minlength=IGNORE_INDEX + 1) for mask in masks])[:, :IGNORE_INDEX]
    totals = pixels.sum(0)
    rarest = [label for label in np.argsort(totals, kind="stable").tolist() if totals[label]]
    chosen: list[int] = []
    while rarest and len(chosen) < min(count, len(indices)):
        for label in rarest[: count - len(chosen)]:
            order = np.argsort(-pixels[:, label], kind="stable").tolist()
            chosen.append(next(position for position in order if position not in chosen))
            if len(chosen) == len(indices):
                break
    return [_name(dataset, indices[position]) for position in chosen]


def _mask(dataset: Any, index: int) -> np.ndarray:
    if isinstance(dataset, Subset):
        return _mask(dataset.dataset, dataset.indices[index])
    if isinstance(dataset, SegmentationDataset):
        return dataset.mask(index)
    return np.asarray(dataset[index]["mask"])


def _name(dataset: Any, index: int) -> str:
    if isinstance(dataset, Subset):
        return _name(dataset.dataset, dataset.indices[index])
    return dataset.samples[index].name if isinstance(dataset, SegmentationDataset) else dataset[index]["name"]
