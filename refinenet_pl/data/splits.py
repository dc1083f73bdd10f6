"""Divides the samples of a dataset into splits: by fractions, or into folds."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refinenet_pl.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass
class Split:
    """How samples are divided into training, validation and test samples.

    Args:
        fractions: Fractions of the samples for training, validation and, if there are three, test. Their sum is 1.
        folds: Number of folds of a cross-validation.
        fold: The fold that validates, 0..folds - 1. The others train.
        groups: Regular expression that is searched in the name of each sample. Samples with the same text in its first
            parentheses, or with the same match if it has none, stay together, such as the frames of a video.
        stratify: Spread each class evenly over the parts, by the images that contain it.
        seed: Seed of the division. The same samples and seed give the same division on every machine.

    Raises:
        UserError: Not exactly one of `fractions` and `folds` is given, or a value is out of range.
    """

    fractions: list[float] | None = None
    folds: int | None = None
    fold: int | None = None
    groups: str | None = None
    stratify: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.fractions is None) == (self.folds is None):
            raise UserError("data.split: expected either fractions, such as [0.8, 0.2], or folds and fold")
        if self.fractions is not None:
            good = len(self.fractions) in (2, 3) and all(0 < part < 1 for part in self.fractions)
            if not good or abs(sum(self.fractions) - 1) > 1e-6:
                raise UserError(
                    f"data.split.fractions: found {self.fractions}; expected two or three fractions (train, val, "
                    "test) whose sum is 1, such as [0.8, 0.2]"
                )
        if self.folds is not None and (self.folds < 2 or self.fold is None or not 0 <= self.fold < self.folds):
            raise UserError(
                f"data.split: found fold {self.fold} of {self.folds} folds; expected at least 2 folds, and a fold of "
                "0..folds - 1"
            )
        if self.groups is not None:
            try:
                re.compile(self.groups)
            except re.error as error:
                raise UserError(f"data.split.groups: {self.groups!r} is not a regular expression ({error})") from error

    @property
    def shares(self) -> list[float]:
        """The share of the samples that each part gets."""
        if self.fractions is not None:
            return self.fractions
        assert self.folds is not None
        return [1 / self.folds] * self.folds

    def parts_of(self, split: str) -> list[int]:
        """Return the indices of the parts that make up a split, which is "train", "val" or "test"."""
        parts = range(len(self.shares))
        if self.fractions is not None:
            return [part for part in parts if SPLITS[part] == split]
        return [part for part in parts if split != "test" and (part == self.fold) == (split == "val")]

    def group_of(self, name: str) -> str:
        """Return the group of a sample's name; raises UserError if the expression of `groups` is not found in it."""
        if self.groups is None:
            return name
        match = re.search(self.groups, name)
        if match is None:
            raise UserError(f"data.split.groups: {self.groups!r} is not found in the name {name!r}")
        return match[1] if match.re.groups else match[0]


def divide(names: Sequence[str], presence: np.ndarray, split: Split) -> list[int]:
    """Assign each sample to a part.

    Samples are assigned class by class, the rarest class first, each to the part that lacks most images of the class
    (iterative stratification: Sechidis, Tsoumakas and Vlahavas, ECML 2011). Without groups, the size of each part
    is its share of the samples, rounded up or down.

    Args:
        names: Names of the samples.
        presence: bool [N, C]: which sample contains which class. With C = 0, the division is random.
        split: The shares, groups and seed.

    Returns:
        The part of each sample, 0..len(split.shares) - 1.

    Raises:
        UserError: There are fewer groups than parts.
    """
    group_names, group_index = np.unique([split.group_of(name) for name in names], return_inverse=True)
    shares = np.array(split.shares)
    if len(group_names) < len(shares):
        kind = "samples" if split.groups is None else "groups"
        raise UserError(f"data.split: {len(group_names)} {kind} cannot be divided into {len(shares)} parts")
    # Each group in random order, so that ties are not decided by names.
    order = np.random.default_rng(split.seed).permutation(len(group_names))
    sizes = np.bincount(group_index, minlength=len(group_names))
    counts = np.zeros((len(group_names), presence.shape[1]), np.int64)
    np.add.at(counts, group_index, presence.astype(np.int64))
    parts = _stratify(counts[order], sizes[order], shares)
    of_group = np.empty(len(order), np.int64)
    of_group[order] = parts
    return [int(part) for part in of_group[group_index]]


def _stratify(counts: np.ndarray, sizes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the part of each group. `counts` [G, C]: images of the group that contain the class; `sizes` [G]."""
    lacking = shares[:, None] * counts.sum(0)  # images of each class that each part still lacks
    free = shares * sizes.sum()  # samples that each part still lacks
    parts = np.full(len(sizes), -1)
    # Large groups first: small ones fill what is left.
    by_size = np.argsort(-sizes, kind="stable")

    def assign(group: int, wanted: np.ndarray) -> None:
        empty = [part for part in range(len(shares)) if part not in parts]
        if len(empty) < np.count_nonzero(parts < 0):  # else each of the last groups fills an empty part
            empty = []
        candidates = empty or [part for part in range(len(shares)) if free[part] > 1e-9]
        part = max(candidates, key=lambda index: (wanted[index], free[index]))
        parts[group] = part
        lacking[part] -= counts[group]
        free[part] -= sizes[group]

    while True:
        rest = counts[parts < 0].sum(0)
        if not rest.any():
            break
        rarest = int(np.where(rest > 0, rest, np.iinfo(np.int64).max).argmin())
        for group in by_size:
            if parts[group] < 0 and counts[group, rarest]:
                assign(group, lacking[:, rarest])
    for group in by_size:
        if parts[group] < 0:
            assign(group, free)
    return parts


def halves_of(groups: Sequence[str]) -> list[int]:
    """Return the half of each sample, 0 or 1, always the same for the same samples.

    - Samples without group take turns.
    - Two groups or more stay whole: the largest first, each joins the half with fewer samples.
    - A single group, such as a drive, is cut in the middle, because neighboring frames depend on each other.

    Args:
        groups: The group of each sample; empty for a sample that depends on no other.
    """
    sizes = Counter(group or f"\n{index}" for index, group in enumerate(groups))
    if not any(groups):
        return [index % 2 for index in range(len(groups))]
    if len(sizes) == 1:
        return [int(2 * index >= len(groups)) for index in range(len(groups))]
    half_of: dict[str, int] = {}
    counts = [0, 0]
    for name, size in sizes.most_common():
        half_of[name] = int(counts[1] < counts[0])
        counts[half_of[name]] += size
    return [half_of[group or f"\n{index}"] for index, group in enumerate(groups)]
