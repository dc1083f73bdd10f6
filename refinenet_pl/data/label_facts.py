"""What label images hold: a hash and the values of each, read once and then kept until the file changes."""

import contextlib
import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.errors import UserError
from refinenet_pl.files import cache_folder, read_json, write_json

VERSION = 1
"""Increase it whenever the facts change, so that older ones are read anew."""
MAX_VALUES = 70_000
"""Label images with more values, such as photographs taken for labels, are not kept."""
THREADS = 4


class LabelFacts(NamedTuple):
    """Facts of one label image."""

    digest: str
    """Hash of its size and of its values as they are stored."""
    values: list[int]
    """The values that occur, sorted."""


def label_facts(dataset: SegmentationDataset) -> list[LabelFacts]:
    """Return the facts of each sample's label image.

    Facts are kept in the user's cache folder. They are read anew when the size or the time of a file has changed.

    Raises:
        UserError: A label image cannot be read.
    """
    # One file per list of label images: the splits of a study differ, and processes may write at the same time.
    masks = [sample.mask for sample in dataset.samples]
    assert all(mask is not None for mask in masks)
    names = "\n".join(map(str, masks))
    key = hashlib.sha256(f"{VERSION} {dataset.colored}\n{names}".encode()).hexdigest()[:24]
    file = cache_folder() / "labels" / f"{key}.json"
    known = {}
    if file.is_file():
        with contextlib.suppress(UserError):  # a damaged file is written anew
            known = read_json(file, "", {"facts": dict})["facts"]

    def facts_of(index: int) -> tuple[list[int], LabelFacts]:
        mask = masks[index]
        assert mask is not None
        try:
            found = mask.stat()
        except FileNotFoundError as error:
            raise UserError(f"{mask}: no such file; expected a label image") from error
        stamp = [found.st_size, found.st_mtime_ns]
        saved = known.get(str(mask))
        if saved is not None and saved[:2] == stamp:
            return stamp, LabelFacts(saved[2], saved[3])
        raw = dataset.raw_mask(index)
        content = np.ascontiguousarray(raw.astype(np.int64))
        digest = hashlib.sha256(str(raw.shape).encode() + content.tobytes()).hexdigest()[:16]
        return stamp, LabelFacts(digest, np.unique(raw).tolist())

    with ThreadPoolExecutor(THREADS) as pool:
        results = list(
            track(
                pool.map(facts_of, range(len(masks))),
                total=len(masks),
                description="Reading labels",
                transient=True,
                console=Console(file=sys.stderr),
            )
        )
    facts = {
        str(mask): [*stamp, *fact]
        for mask, (stamp, fact) in zip(masks, results, strict=True)
        if len(fact.values) <= MAX_VALUES
    }
    if facts != known:
        with contextlib.suppress(OSError):  # a cache folder that cannot be written: the labels are read again
            write_json(file, {"facts": facts})
    return [fact for _, fact in results]


def presence(dataset: SegmentationDataset, num_classes: int) -> np.ndarray:
    """Return which sample contains which class, bool [N, C].

    Raises:
        UserError: A label image cannot be read, or contains a value that is not a class.
    """
    found = np.zeros((len(dataset), num_classes), bool)
    for index, facts in enumerate(label_facts(dataset)):
        mask = dataset.samples[index].mask
        assert mask is not None
        indices = dataset.class_indices(np.array(facts.values), mask)
        found[index, indices[indices < num_classes]] = True
    return found


def labels_fingerprint(dataset: SegmentationDataset) -> str:
    """Return a hash of the names and the labels of a split, in its order. It is equal for copies of the data."""
    facts = label_facts(dataset)
    lines = [f"{sample.name} {fact.digest}" for sample, fact in zip(dataset.samples, facts, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
