"""Checks of a dataset before training: its names, its splits, and its classes."""

import filecmp
import sys
from collections.abc import Sequence
from time import monotonic

import numpy as np
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.dataset import Sample, SegmentationDataset
from refinenet_pl.errors import UserError
from refinenet_pl.files import path_inside
from refinenet_pl.text import join

LOOKED_AT = 200
"""Label images that are read to find absent classes: enough to meet a class that is in 2 % of the images."""
SECONDS = 20.0
"""No more label images are read after this time, so that large images on a slow disk do not delay the training."""


def check_names(samples: Sequence[Sample], split: str) -> None:
    """Check that there are samples, and that they have unique names, under which pictures can be saved.

    Raises:
        UserError: There are no samples, a sample is listed twice, two samples have one name, or a name leads outside
            its folder.
    """
    if not samples:
        raise UserError(f"the {split} split has no images; expected at least one. Check data.root and its lists")
    by_name: dict[str, Sample] = {}
    for sample in samples:
        path_inside(".", f"{sample.name}.png")
        other = by_name.setdefault(sample.name, sample)
        if other is sample:
            continue
        if other.image == sample.image:
            raise UserError(f"{sample.image}: the {split} split lists this image twice; remove one of its lines")
        raise UserError(
            f"{other.image} and {sample.image}: both images of the {split} split are named {sample.name!r}. Results "
            "are kept by name: rename one of them."
        )


def check_overlap(training: Sequence[Sample], validation: Sequence[Sample]) -> None:
    """Check that no training image is a validation image: the same file, or a copy under the same name.

    Raises:
        UserError: An image is in both splits.
    """
    files = {sample.image for sample in training}
    by_name = {sample.name: sample.image for sample in training}
    shared = [
        str(sample.image)
        for sample in validation
        if sample.image in files
        or (sample.name in by_name and filecmp.cmp(sample.image, by_name[sample.name], shallow=False))
    ]
    if shared:
        raise UserError(
            f"{len(shared)} of {len(validation)} validation images are also training images: {join(shared, limit=5)}. "
            "Metrics on images that were trained on say nothing about others. Remove them from one of the splits."
        )


def warn_absent_classes(dataset: SegmentationDataset, class_names: Sequence[str]) -> None:
    """Print a warning if classes have no pixel in label images that are spread over a training split.

    Raises:
        UserError: A label image cannot be read, contains a value that is not a class, or all pixels are ignored.
    """
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(LOOKED_AT, len(dataset))).astype(int)).tolist()
    found = np.zeros(IGNORE_INDEX + 1, np.int64)
    started, read = monotonic(), 0
    for index in indices:
        found += np.bincount(dataset.mask(index).ravel(), minlength=len(found))
        read += 1
        if monotonic() - started > SECONDS:
            break
    looked_at = f"{read} of {len(dataset)} training label images" if read < len(dataset) else f"{read} label images"
    if read and not found[:IGNORE_INDEX].any():
        raise UserError(
            f"all pixels of the {looked_at} looked at are ignored (class index {IGNORE_INDEX}), such as in "
            f"{dataset.samples[0].mask}. Check the values of the label images: classes are 0..{len(class_names) - 1}."
        )
    absent = [name for index, name in enumerate(class_names) if not found[index]]
    if read and absent:
        ignored = found[IGNORE_INDEX] / found.sum()
        rank_zero_only(print)(
            f"warning: none of the {looked_at} looked at contains {join(absent, limit=20)}; {100 * ignored:.0f} % of "
            f"their pixels are ignored (class index {IGNORE_INDEX})",
            file=sys.stderr,
        )
