"""The share of each class in masks."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refinenet_pl.files import atomic_write
from refinenet_pl.images import read_mask
from refinenet_pl.progress import track


def class_shares(mask: np.ndarray, count: int) -> np.ndarray:
    """Return the fraction of the pixels of each class.

    Args:
        mask: Class indices, unsigned integers [H, W].
        count: Number of classes.

    Returns:
        float64 [count], 0..1.
    """
    return np.bincount(mask.ravel(), minlength=count)[:count] / mask.size


def write_shares(path: Path, masks: Path, class_names: Sequence[str]) -> None:
    """Write a CSV with one row per mask of a folder, sorted by name: the name, and the share of each class, 0..1.

    Args:
        path: The CSV.
        masks: Folder of the masks, PNGs of class indices. It is searched recursively.
        class_names: One name per class.
    """
    files = sorted(masks.rglob("*.png"))
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", *class_names])
        with track(files, "counting classes") as tracked:
            for mask in tracked:
                name = mask.relative_to(masks).with_suffix("").as_posix()
                shares = class_shares(read_mask(mask), len(class_names))
                rows.writerow([name, *(f"{share:.6f}" for share in shares)])
