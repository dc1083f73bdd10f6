"""Checks of a dataset before training: its names, its splits, and its classes."""

import sys
from collections.abc import Sequence
from time import monotonic

import numpy as np
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.archive_paths import AnyPath
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.dataset import MAX_LABEL, Sample, SegmentationDataset
from refinenet_pl.data.labels import color_text
from refinenet_pl.errors import UserError
from refinenet_pl.files import path_inside
from refinenet_pl.images import image_size
from refinenet_pl.text import join

LOOKED_AT = 200
"""Label images that are read to find absent classes: enough to meet a class that is in 2 % of the images."""
MOST_IGNORED = 0.5
"""Share of ignored pixels above which they are more likely a mistake."""
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
        if sample.image in files or (sample.name in by_name and _have_same_content(sample.image, by_name[sample.name]))
    ]
    if shared:
        raise UserError(
            f"{len(shared)} of {len(validation)} validation images are also training images: {join(shared, limit=5)}. "
            "Metrics on images that were trained on say nothing about others. Remove them from one of the splits."
        )


def _have_same_content(one: AnyPath, other: AnyPath) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()


def check_labels(dataset: SegmentationDataset, class_names: Sequence[str], split: str) -> None:
    """Check label images that are spread over a split, and print warnings of absent classes and of ignored pixels.

    Raises:
        UserError: A label image cannot be read, has another size than its image or a value that is not a class, or the
            values leave nothing to learn: all pixels are ignored, or the only values are 0 and 255 and 255 is ignored.
    """
    found = np.zeros(IGNORE_INDEX + 1, np.int64)
    values: dict[int, int] = {}
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(LOOKED_AT, len(dataset))).astype(int)).tolist()
    started, read = monotonic(), 0
    for index in indices:
        sample = dataset.samples[index]
        assert sample.mask is not None
        raw = dataset.raw_mask(index)
        dataset.check_size(sample, raw.shape, image_size(sample.image))
        stored, counts = _count(raw)
        np.add.at(found, dataset.class_indices(stored, sample.mask), counts)
        for value, count in zip(stored.tolist(), counts.tolist(), strict=True):
            values[value] = values.get(value, 0) + count
        read += 1
        if monotonic() - started > SECONDS:
            break
    if not read:
        return
    looked_at = (
        f"{read} of {len(dataset)} {split} label images" if read < len(dataset) else f"{read} {split} label images"
    )
    if values.keys() == {0, IGNORE_INDEX} and dataset.encoding.get(IGNORE_INDEX) == IGNORE_INDEX:
        raise UserError(
            f"the {looked_at} hold only the values 0 and {IGNORE_INDEX}, but {IGNORE_INDEX} is ignored, so that there "
            f"is only one class to learn. If {IGNORE_INDEX} is a class, write this below init_args in the data's yaml: "
            f"label_ids: {{0: {class_names[0]}, {IGNORE_INDEX}: {class_names[1]}}}"
        )
    if not found[:IGNORE_INDEX].any():
        raise UserError(
            f"all pixels of the {looked_at} looked at are ignored (class index {IGNORE_INDEX}), such as in "
            f"{dataset.samples[0].mask}. Check the values of the label images: classes are 0..{len(class_names) - 1}."
        )
    if split == "training":
        ignored = found[IGNORE_INDEX] / found.sum()
        _warn_absent(class_names, found, looked_at, ignored)
        if ignored > MOST_IGNORED:
            _warn_ignored(dataset, values, looked_at, ignored)


def _count(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values that occur in a label image, and the pixels of each."""
    if raw.size and raw.min() >= 0 and raw.max() <= MAX_LABEL:  # ten times as fast as sorting all pixels
        counts = np.bincount(raw.ravel())
        values = counts.nonzero()[0]
        return values, counts[values]
    return np.unique(raw, return_counts=True)


def _warn_absent(class_names: Sequence[str], found: np.ndarray, looked_at: str, ignored: float) -> None:
    absent = [name for index, name in enumerate(class_names) if not found[index]]
    if absent:
        rank_zero_only(print)(
            f"warning: none of the {looked_at} looked at contains {join(absent, limit=20)}; {100 * ignored:.0f} % of "
            f"their pixels are ignored (class index {IGNORE_INDEX})",
            file=sys.stderr,
        )


def _warn_ignored(dataset: SegmentationDataset, values: dict[int, int], looked_at: str, ignored: float) -> None:
    void = sorted((value for value in values if dataset.encoding[value] == IGNORE_INDEX), key=lambda v: -values[v])
    show = color_text if dataset.colored else str
    rank_zero_only(print)(
        f"warning: {100 * ignored:.0f} % of the pixels of the {looked_at} are ignored: those with the "
        f"{'colors' if dataset.colored else 'values'} {join(map(show, void), limit=10)}. If one of them is a class, "
        f"write it in data.label_ids, such as {{{show(void[0])!r}: NAME}}",
        file=sys.stderr,
    )


def check_equal_sizes(dataset: SegmentationDataset) -> None:
    """Check that two augmented samples have the same size, as a batch needs; raises UserError."""
    if len(dataset) > 1:
        first, last = (tuple(dataset[index]["mask"].shape) for index in (0, len(dataset) - 1))
        if first != last:
            raise UserError(
                f"data.transforms: two training samples have {first[0]} x {first[1]} and {last[0]} x {last[1]} pixels; "
                "expected one size for all samples of a batch, such as a crop or a resize at the end gives"
            )
