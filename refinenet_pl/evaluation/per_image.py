"""One confusion matrix for each image of a split: what intervals and comparisons of runs are made from."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)
"""What numpy raises on files that are damaged or hold something else."""


class ImageMatrices:
    """The confusion matrices (rows = truth) of images by name; only the cells that are not zero are kept.

    Whatever order images are added in, they are sorted by name, so that nothing depends on the number of processes.

    Args:
        class_names: One name a class.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._cells: dict[str, np.ndarray] = {}  # int64 [cells, 3]: true class, predicted class, pixels

    @property
    def names(self) -> list[str]:
        """The images' names, sorted; every array below has its images in this order."""
        return sorted(self._cells)

    def add(self, name: str, matrix: Tensor | np.ndarray) -> None:
        """Keep the matrix, integers [C, C], of one more image.

        Raises:
            UserError: There is one of this name already.
        """
        counts = np.asarray(matrix)
        true, predicted = counts.nonzero()
        self._keep(name, np.stack([true, predicted, counts[true, predicted]], axis=1))

    def merge(self, other: "ImageMatrices") -> None:
        """Take over the images that another process counted; raises what `add` raises."""
        for name, cells in other._cells.items():
            self._keep(name, cells)

    def _keep(self, name: str, cells: np.ndarray) -> None:
        if name in self._cells:
            raise UserError(f"two images are called {name!r}: each counts once, so give every image its own name")
        self._cells[name] = cells

    def total(self) -> np.ndarray:
        """The confusion matrix of all images, int64 [C, C]."""
        matrix = np.zeros((len(self.class_names),) * 2, np.int64)
        _, true, predicted, pixels = self._columns()
        np.add.at(matrix, (true, predicted), pixels)
        return matrix

    def correct_pixels(self) -> np.ndarray:
        """Pixels of each class that are right, float64 [images, C]."""
        image, true, predicted, pixels = self._columns()
        return self._per_class(image, true, pixels * (true == predicted))

    def target_pixels(self) -> np.ndarray:
        """True pixels of each class, float64 [images, C]."""
        image, true, _, pixels = self._columns()
        return self._per_class(image, true, pixels)

    def predicted_pixels(self) -> np.ndarray:
        """Counted pixels predicted as each class, float64 [images, C]."""
        image, _, predicted, pixels = self._columns()
        return self._per_class(image, predicted, pixels)

    def mean_iou(self) -> np.ndarray:
        """Compute each image's mean IoU over the classes in its target.

        Returns:
            float64 [images] in 0..1; NaN for images whose pixels are all ignored.
        """
        correct, target = self.correct_pixels(), self.target_pixels()
        unions = target + self.predicted_pixels() - correct
        per_class = np.divide(correct, unions, out=np.full_like(correct, np.nan), where=target > 0)
        present = ~np.isnan(per_class)
        sums, count = np.where(present, per_class, 0.0).sum(-1), present.sum(-1)
        return np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)

    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Index of the image, true class, predicted class and pixels of every cell, each int64 [cells]."""
        parts = [self._cells[name] for name in self.names]
        image = np.repeat(np.arange(len(parts)), [len(cells) for cells in parts])
        true, predicted, pixels = np.concatenate([np.empty((0, 3), np.int64), *parts]).T
        return image, true, predicted, pixels

    def _per_class(self, image: np.ndarray, label: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(self._cells), len(self.class_names)))
        np.add.at(sums, (image, label), pixels)
        return sums

    def save(self, path: Path) -> None:
        """Write a compressed .npz: names as text, and a cell's four numbers in an array each."""
        image, true, predicted, pixels = self._columns()
        with atomic_write(path) as beside, beside.open("wb") as file:
            np.savez_compressed(
                file,
                class_names=np.array(self.class_names, dtype=np.str_),
                names=np.array(self.names, dtype=np.str_),
                image=image,
                true=true,
                predicted=predicted,
                pixels=pixels,
            )

    @classmethod
    def load(cls, path: Path) -> "ImageMatrices":
        """Read what `save` wrote; nothing in a file is ever executed.

        Raises:
            UserError: There is no such file, or it holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                class_names, names = file["class_names"].tolist(), file["names"].tolist()
                cells = np.stack([file[key] for key in ("image", "true", "predicted", "pixels")], axis=1)
            if (cells < 0).any() or (cells[:, :3] >= (len(names), len(class_names), len(class_names))).any():
                raise ValueError("negative numbers, or an image or a class without a name")
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file. The commands fit, validate and test write it.") from error
        except UNREADABLE as error:
            raise UserError(f"{path}: holds no per-image matrices ({type(error).__name__}: {error})") from error
        images = cls(class_names)
        for index, name in enumerate(names):
            images._keep(name, cells[cells[:, 0] == index, 1:])
        return images
