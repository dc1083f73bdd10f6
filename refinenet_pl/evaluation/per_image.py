"""The confusion matrix of each image of a split. Intervals and comparisons of runs are computed from these."""

import hashlib
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from torch import Tensor

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.error_parts import PARTS
from refinenet_pl.evaluation.metrics import iou, mean_over_classes
from refinenet_pl.files import atomic_write

INVALID_ARCHIVE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)
"""What numpy raises on .npz files that are damaged or have other content."""

CORRECT, UNKNOWN = -1, -2
"""The part of right pixels, and of pixels in files that do not tell parts."""
KNOWN_PARTS = (UNKNOWN, CORRECT, *range(len(PARTS)))

MAX_BYTES = 2**30
"""Most bytes of the arrays of a file. 10,000 images with 1000 pairs of classes each have 0.3 GB."""
MAX_CLASSES = 4096
MAX_COUNTS = 10**8
"""Most numbers in an array of images and classes."""


class ImageMatrices:
    """The confusion matrices of images by name; rows are the target.

    Only entries other than zero are stored. Images are sorted by name, so the order in which processes add them does
    not matter.

    Args:
        class_names: One name per class.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        # int64 [entries, 4] per image: target class, predicted class, part (an index of PARTS, or UNKNOWN), pixels.
        self._entries: dict[str, np.ndarray] = {}
        self._target_hashes: dict[str, str] = {}
        self._groups: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """The image names, sorted. All arrays below have their images in this order."""
        return sorted(self._entries)

    def add(
        self,
        name: str,
        matrix: Tensor | np.ndarray,
        target: Tensor | np.ndarray | None = None,
        group: str = "",
        parts: np.ndarray | None = None,
    ) -> None:
        """Add the confusion matrix of one image.

        Args:
            name: The name of the image.
            matrix: Its confusion matrix, integers [C, C].
            target: Its class indices, uint8 [H, W]. A hash of them is kept, so that runs on other labels are told
                apart. None: no hash.
            group: What the image has in common with others, such as a drive. Empty: it is independent of others.
            parts: The wrong pixels by part, integers [len(PARTS), C, C]: see `error_parts`. None: unknown.

        Raises:
            UserError: An image of this name exists already.
        """
        matrix = np.asarray(matrix)
        if parts is None:
            counts, first = matrix[None], UNKNOWN
        else:
            counts, first = np.concatenate([np.diag(matrix.diagonal())[None], parts]), CORRECT
        part, true, prediction = counts.nonzero()
        entries = np.stack([true, prediction, part + first, counts[part, true, prediction]], axis=1)
        self._insert(name, entries, "" if target is None else _hash(np.asarray(target)), group)

    def merge(self, other: "ImageMatrices") -> None:
        """Add the images of another process.

        Raises:
            UserError: An image of the same name exists already.
        """
        for name, entries in other._entries.items():
            self._insert(name, entries, other._target_hashes[name], other._groups[name])

    def _insert(self, name: str, entries: np.ndarray, target_hash: str, group: str) -> None:
        if name in self._entries:
            raise UserError(f"two images are named {name!r}; each image counts once, so give each its own name")
        self._entries[name] = entries
        self._target_hashes[name] = target_hash
        self._groups[name] = group

    @property
    def target_hashes(self) -> list[str]:
        """A hash of the target of each image; empty where it is not known, as in files of earlier versions."""
        return [self._target_hashes[name] for name in self.names]

    @property
    def groups(self) -> list[str]:
        """The group of each image; empty for independent images, and in files of earlier versions."""
        return [self._groups[name] for name in self.names]

    def fingerprint(self) -> str | None:
        """Return a hash of the names and targets of all images, equal for copies of the data; None if unknown."""
        if not all(self.target_hashes):
            return None
        lines = [f"{name} {target_hash}" for name, target_hash in zip(self.names, self.target_hashes, strict=True)]
        return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()[:16]

    def total(self) -> np.ndarray:
        """Return the confusion matrix of all images, int64 [C, C]."""
        matrix = np.zeros((len(self.class_names),) * 2, np.int64)
        _, target, prediction, _, pixels = self._columns()
        np.add.at(matrix, (target, prediction), pixels)
        return matrix

    def error_parts(self) -> np.ndarray | None:
        """Return the wrong pixels of all images by part, int64 [len(PARTS), C, C]; None if they are unknown."""
        _, target, prediction, part, pixels = self._columns()
        wrong = target != prediction
        if (part[wrong] == UNKNOWN).any():
            return None
        counts = np.zeros((len(PARTS), *(len(self.class_names),) * 2), np.int64)
        np.add.at(counts, (part[wrong], target[wrong], prediction[wrong]), pixels[wrong])
        return counts

    def error_pixels(self) -> np.ndarray | None:
        """Return the errors of each image by part and class, float64 [images, len(PARTS), C]; None if unknown.

        A wrong pixel is an error of two classes: that of the target and the predicted one.
        """
        image, target, prediction, part, pixels = self._columns()
        wrong = target != prediction
        if (part[wrong] == UNKNOWN).any():
            return None
        errors = np.zeros((len(self._entries), len(PARTS), len(self.class_names)))
        for class_index in (target, prediction):
            np.add.at(errors, (image[wrong], part[wrong], class_index[wrong]), pixels[wrong])
        return errors

    def correct_pixels(self) -> np.ndarray:
        """Return the pixels of each class whose prediction is right, float64 [images, C]."""
        image, target, prediction, _, pixels = self._columns()
        return self._per_class(image, target, pixels * (target == prediction))

    def target_pixels(self) -> np.ndarray:
        """Return the target pixels of each class, float64 [images, C]."""
        image, target, _, _, pixels = self._columns()
        return self._per_class(image, target, pixels)

    def predicted_pixels(self) -> np.ndarray:
        """Return the pixels predicted as each class, without ignored pixels, float64 [images, C]."""
        image, _, prediction, _, pixels = self._columns()
        return self._per_class(image, prediction, pixels)

    def mean_iou(self) -> np.ndarray:
        """Return the mean IoU of each image over the classes in its target.

        Returns:
            float64 [images] in 0..1; NaN for an image whose pixels are all ignored.
        """
        target = self.target_pixels()
        counts = (self.correct_pixels(), target, self.predicted_pixels())
        per_class = iou(*map(torch.from_numpy, counts)).numpy()
        return mean_over_classes(np.where(target > 0, per_class, np.nan))

    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the image index, target class, predicted class, part and pixels of all entries, int64 [entries]."""
        parts = [self._entries[name] for name in self.names]
        image = np.repeat(np.arange(len(parts)), [len(entries) for entries in parts])
        target, prediction, part, pixels = np.concatenate([np.empty((0, 4), np.int64), *parts]).T
        return image, target, prediction, part, pixels

    def _per_class(self, image: np.ndarray, class_index: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(self._entries), len(self.class_names)))
        np.add.at(sums, (image, class_index), pixels)
        return sums

    def save(self, path: str | Path) -> None:
        """Write a compressed .npz file: the names as text, and one array for each of the five columns."""
        image, target, prediction, part, pixels = self._columns()
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                class_names=np.array(self.class_names, dtype=np.str_),
                names=np.array(self.names, dtype=np.str_),
                target_hashes=np.array(self.target_hashes, dtype=np.str_),
                groups=np.array(self.groups, dtype=np.str_),
                image=image,
                true=target,
                predicted=prediction,
                part=part.astype(np.int8),
                pixels=pixels,
            )

    @classmethod
    def load(cls, path: str | Path) -> "ImageMatrices":
        """Read a file that `save` wrote. Safe on untrusted files: nothing is executed, and the size is bounded.

        Raises:
            UserError: The file is missing, damaged, or has other content.
        """
        try:
            _check_sizes(path)
            with np.load(path, allow_pickle=False) as file:
                class_names, names = file["class_names"].tolist(), file["names"].tolist()
                hashes = file["target_hashes"].tolist() if "target_hashes" in file else [""] * len(names)
                groups = file["groups"].tolist() if "groups" in file else [""] * len(names)
                entries = np.stack([file[key] for key in ("image", "true", "predicted", "pixels")], axis=1)
                part = file["part"] if "part" in file else np.full(len(entries), UNKNOWN, np.int8)
            if entries.dtype.kind not in "iu" or not all(
                isinstance(name, str) for name in [*class_names, *names, *hashes, *groups]
            ):
                raise ValueError(f"found numbers of type {entries.dtype} and names; expected integers and text")
            if len(hashes) != len(names) or len(groups) != len(names):
                raise ValueError(
                    f"found {len(hashes)} hashes of targets and {len(groups)} groups for {len(names)} images"
                )
            if len(class_names) > MAX_CLASSES or len(class_names) * len(names) > MAX_COUNTS:
                raise ValueError(f"found {len(class_names)} classes and {len(names)} images, which are too many")
            if outside := [name for name in names if leads_outside(name)]:
                raise ValueError(f"found the image name {outside[0]!r}, which leads outside its folder")
            entries = entries.astype(np.int64)
            if part.shape != (len(entries),) or part.dtype.kind != "i" or not np.isin(part, KNOWN_PARTS).all():
                raise ValueError("found parts of errors that do not exist")
            if (entries < 0).any() or (entries[:, :3] >= (len(names), len(class_names), len(class_names))).any():
                raise ValueError("found negative numbers, or an image or class index without a name")
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file. The commands fit, validate and test write it.") from error
        except INVALID_ARCHIVE as error:
            raise UserError(
                f"{path}: cannot read per-image confusion matrices ({type(error).__name__}: {error}). "
                "Evaluate the run again to write a new file."
            ) from error
        images = cls(class_names)
        entries = np.insert(entries, 3, part, axis=1)
        entries = entries[np.argsort(entries[:, 0], kind="stable")]
        starts = np.searchsorted(entries[:, 0], np.arange(1, len(names)))
        for name, part, target_hash, group in zip(
            names, np.split(entries[:, 1:], starts), hashes, groups, strict=False
        ):
            images._insert(name, part, target_hash, group)
        return images


def _hash(target: np.ndarray) -> str:
    content = np.ascontiguousarray(target, dtype=np.uint8)
    return hashlib.sha256(f"{content.shape}".encode() + content.tobytes()).hexdigest()[:16]


def _check_sizes(path: str | Path) -> None:
    """Check the sizes that an .npz file states, before an array is made or unpacked.

    Raises:
        ValueError: The arrays are too large, or are larger than their part of the archive.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if (total := sum(member.file_size for member in members)) > MAX_BYTES:
            raise ValueError(f"found {total:,} bytes of arrays; expected at most {MAX_BYTES:,}")
        for member in members:
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
            if math.prod(shape) * dtype.itemsize > member.file_size:
                raise ValueError(f"{member.filename} states the shape {shape}, which is larger than the file")


def leads_outside(name: str) -> bool:
    """Return whether a name, as a path below a folder, leads out of it."""
    path = PurePath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts
