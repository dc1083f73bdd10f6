"""One confusion matrix per image: the basis of bootstrap intervals and comparisons of runs."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.metrics import iou, mean_over_classes
from refinenet_pl.files import atomic_write

LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for files that are damaged or hold something else."""


class ImageMatrices:
    """Confusion matrices (rows = target) of images, by image name. Only nonzero entries are stored.

    Images are sorted by name, so that results do not depend on the order in which they are added or on the number of
    processes.

    Args:
        class_names: One name per class.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._entries: dict[str, np.ndarray] = {}  # int64 [entries, 3]: target class, predicted class, pixels

    @property
    def names(self) -> list[str]:
        """Sorted image names; the rows of every array below follow this order."""
        return sorted(self._entries)

    def add(self, name: str, matrix: Tensor | np.ndarray) -> None:
        """Add the matrix of one image, integers [C, C].

        Raises:
            UserError: An image of this name was added before.
        """
        counts = np.asarray(matrix)
        target, predicted = counts.nonzero()
        self._add_entries(name, np.stack([target, predicted, counts[target, predicted]], axis=1))

    def merge(self, other: "ImageMatrices") -> None:
        """Add all images of another instance, for example from another process; raises as `add` does."""
        for name, entries in other._entries.items():
            self._add_entries(name, entries)

    def _add_entries(self, name: str, entries: np.ndarray) -> None:
        if name in self._entries:
            raise UserError(f"two images are named {name!r}; each image counts once, so give every image another name")
        self._entries[name] = entries

    def total(self) -> np.ndarray:
        """Return the confusion matrix of all images together, int64 [C, C]."""
        matrix = np.zeros((len(self.class_names),) * 2, np.int64)
        _, target, predicted, pixels = self._columns()
        np.add.at(matrix, (target, predicted), pixels)
        return matrix

    def correct_pixels(self) -> np.ndarray:
        """Count the correct pixels of each image and class, float64 [images, C]."""
        image, target, predicted, pixels = self._columns()
        return self._sum_per_class(image, target, pixels * (target == predicted))

    def target_pixels(self) -> np.ndarray:
        """Count the target pixels of each image and class, float64 [images, C]."""
        image, target, _, pixels = self._columns()
        return self._sum_per_class(image, target, pixels)

    def predicted_pixels(self) -> np.ndarray:
        """Count the predicted pixels of each image and class, without ignored pixels, float64 [images, C]."""
        image, _, predicted, pixels = self._columns()
        return self._sum_per_class(image, predicted, pixels)

    def mean_iou(self) -> np.ndarray:
        """Compute each image's mean IoU over the classes in its target.

        Returns:
            float64 [images] in 0..1; NaN for images whose pixels are all ignored.
        """
        target = self.target_pixels()
        per_class = iou(*map(torch.from_numpy, (self.correct_pixels(), target, self.predicted_pixels()))).numpy()
        return mean_over_classes(np.where(target > 0, per_class, np.nan))

    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return image index, target class, predicted class and pixels of every entry, each int64 [entries]."""
        parts = [self._entries[name] for name in self.names]
        image = np.repeat(np.arange(len(parts)), [len(entries) for entries in parts])
        target, predicted, pixels = np.concatenate([np.empty((0, 3), np.int64), *parts]).T
        return image, target, predicted, pixels

    def _sum_per_class(self, image: np.ndarray, class_index: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(self._entries), len(self.class_names)))
        np.add.at(sums, (image, class_index), pixels)
        return sums

    def save(self, path: str | Path) -> None:
        """Write a compressed .npz file: all names as text, and each entry's four numbers in four arrays."""
        image, target, predicted, pixels = self._columns()
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                class_names=np.array(self.class_names, dtype=np.str_),
                names=np.array(self.names, dtype=np.str_),
                image=image,
                true=target,
                predicted=predicted,
                pixels=pixels,
            )

    @classmethod
    def load(cls, path: str | Path) -> "ImageMatrices":
        """Read a file that `save` wrote. Nothing in the file is executed.

        Raises:
            UserError: The file is missing, damaged, or holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                class_names, names = file["class_names"].tolist(), file["names"].tolist()
                entries = np.stack([file[key] for key in ("image", "true", "predicted", "pixels")], axis=1)
            if (entries < 0).any() or (entries[:, :3] >= (len(names), len(class_names), len(class_names))).any():
                raise ValueError("negative numbers, or an image or a class without a name")
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file. The commands fit, validate and test write it.") from error
        except LOAD_ERRORS as error:
            raise UserError(f"{path}: holds no per-image matrices ({type(error).__name__}: {error})") from error
        images = cls(class_names)
        for index, name in enumerate(names):
            images._add_entries(name, entries[entries[:, 0] == index, 1:])
        return images
