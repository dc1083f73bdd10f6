"""Which samples are chosen as pictures."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Subset

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.rare_classes import LOOKED_AT, rare_class_samples


def sample(name: str, *values: int) -> dict:
    return {"name": name, "mask": torch.tensor(values, dtype=torch.uint8).view(1, -1)}


SAMPLES = [
    sample("a", 0, 0, 0, 0),
    sample("b", 0, 1, 1, 3),
    sample("c", 0, 1, 2, 2),
    sample("d", 1, 1, 1, 2),
    sample("e", IGNORE_INDEX, 0, 0, 1),
]
"""Pixels of the classes 0 to 3: 8, 7, 3 and 1. No pixel is of class 4."""


def test_rarest_classes_come_first():
    assert rare_class_samples(SAMPLES, 1) == ["b"], "the only one with class 3"
    assert rare_class_samples(SAMPLES, 2) == ["b", "c"], "then most pixels of class 2"
    assert rare_class_samples(SAMPLES, 3) == ["b", "c", "d"]
    assert rare_class_samples(SAMPLES, 4) == ["b", "c", "d", "a"]


def test_each_sample_is_chosen_once():
    assert rare_class_samples(SAMPLES, 9) == ["b", "c", "d", "a", "e"]
    assert rare_class_samples([sample("a", 0), sample("b", 1)], 2) == ["a", "b"]
    assert rare_class_samples([sample("a", IGNORE_INDEX)], 2) == []


def test_only_the_validated_samples_count():
    assert rare_class_samples(SAMPLES, 2, length=1) == ["a"]
    part: Subset[Any] = Subset(SAMPLES, [0, 2])  # type: ignore[arg-type]  # a list is enough here
    assert rare_class_samples(part, 1) == ["c"]


def test_samples_of_a_large_split_are_spread():
    many = [sample(str(index), *np.full(5, 0)) for index in range(3 * LOOKED_AT)]
    many[-1] = sample("last", 1, 0, 0, 0, 0)
    assert rare_class_samples(many, 1) == ["last"]
