"""Archives for the evaluation servers of Cityscapes and VOC: what they contain, and a check of it."""

import io
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from refinenet_pl.data.cityscapes import CITYSCAPES, EVALUATED_IDS
from refinenet_pl.data.classes import VOC, Classes
from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.images import UNREADABLE
from refinenet_pl.progress import track
from refinenet_pl.text import join


@dataclass(frozen=True)
class Submission:
    """What a server accepts: an archive with one PNG per image, each of its image's size.

    Attributes:
        classes: The classes that the server scores.
        values: The pixel value of each class, in the order of class indices.
        mode: Pillow's mode of the PNGs: "L" for 8-bit gray, "P" for a palette.
        name_pattern: Regular expression of the names, without suffix, of the images that the server scores.
        folder: Folder of the PNGs in the archive, with a slash at the end, or "".
        archive: File name of the archive. A .zip is a zip; any other name is a gzipped tar.
        images: Number of images in the test set.
    """

    classes: Classes
    values: tuple[int, ...]
    mode: str
    name_pattern: str
    folder: str
    archive: str
    images: int

    def member(self, name: str) -> str:
        """Return the path in the archive of an image's PNG, given the image's path without suffix."""
        return f"{self.folder}{Path(name).name}.png"

    def check_classes(self, names: Sequence[str]) -> None:
        """Raise UserError if a network predicts other classes than the server scores."""
        if tuple(names) != self.classes.names:
            raise UserError(
                f"the network predicts {len(names)} classes ({join(names, limit=5)}), but the server expects "
                f"{len(self.classes)} classes ({join(self.classes.names, limit=5)}). Use a checkpoint that was trained "
                "on this dataset, or predict without --submission."
            )

    def members(self, images: Mapping[str, str | Path]) -> dict[str, Path]:
        """Return the image of each file in the archive.

        Args:
            images: Image files by sample name: the path below the given folder, without suffix.

        Raises:
            UserError: An image is not part of the dataset, or two images would have the same file name.
        """
        found: dict[str, Path] = {}
        for name, image in images.items():
            if not re.fullmatch(self.name_pattern, Path(name).name):
                raise UserError(
                    f"{image}: the server scores only images with names like {self.name_pattern}. Set --images to the "
                    "folder of the dataset's test images, without other files."
                )
            other = found.setdefault(self.member(name), Path(image))
            if other != Path(image):
                raise UserError(f"{other} and {image} would both be {self.member(name)} in the archive; remove one")
        return found


SUBMISSIONS = {
    # https://www.cityscapes-dataset.com/submit, and evalPixelLevelSemanticLabeling.py of cityscapesScripts, which the
    # server runs: label ids, not class indices, in one <city>_123456_123456*.png per image, in any folder.
    "cityscapes": Submission(
        CITYSCAPES, EVALUATED_IDS, "L", r"[a-z]+_\d{6}_\d{6}_leftImg8bit", "", "cityscapes.zip", images=1525
    ),
    # Folder and palette PNGs: documentation of the VOC2012 devkit, section 5. The server accepts a gzipped tar.
    # Competition 6 allows any training data except the test set. Competition 5 allows only VOC, so no ImageNet weights.
    "voc": Submission(
        VOC,
        tuple(range(len(VOC))),
        "P",
        r"\d{4}_\d{6}",
        "results/VOC2012/Segmentation/comp6_test_cls/",
        "results.tgz",
        images=1456,
    ),
}


def write_archive(submission: Submission, folder: str | Path, members: Mapping[str, str | Path]) -> Path:
    """Pack the PNGs below a folder into an archive. The archive is verified before it is saved.

    Args:
        submission: What the server accepts.
        folder: Folder with the PNGs, at their paths in the archive. The archive is written there too.
        members: See `Submission.members`.

    Returns:
        The path of the archive.

    Raises:
        UserError: See `check_archive`.
    """
    folder = Path(folder)
    archive = folder / submission.archive
    existing = {member: folder / member for member in members if (folder / member).is_file()}
    with atomic_write(archive) as temporary, track(existing.items(), f"Packing {archive.name}") as packing:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(temporary, "w") as zipped:
                for member, path in packing:
                    zipped.write(path, member)
        else:
            with tarfile.open(temporary, "w:gz") as tar:
                for member, path in packing:
                    tar.add(path, member)
        check_archive(submission, temporary, members)
    return archive


def check_archive(submission: Submission, archive: str | Path, members: Mapping[str, str | Path]) -> None:
    """Read an archive as the server does, and check every file in it.

    Args:
        submission: What the server accepts.
        archive: A zip or a gzipped tar.
        members: The image of each file that the archive must contain.

    Raises:
        UserError: A file is missing, duplicate or unexpected, is not a PNG of the right mode, differs in size from its
            image, or contains a value that is not a class.
    """
    missing = set(members)
    with track(_contents(archive), f"Checking {submission.archive}", len(members)) as contents:
        for member, content in contents:
            if member not in missing:
                raise UserError(f"{archive}: {member} is a duplicate, or belongs to no image")
            missing.remove(member)
            error = _find_error(submission, content, members[member])
            if error:
                raise UserError(f"{archive}: {member} {error}")
    if missing:
        raise UserError(
            f"{archive}: {len(missing)} of {len(members)} files are missing: {join(sorted(missing), limit=5)}. If "
            "several machines predict, they must share the folder --output."
        )


def _find_error(submission: Submission, content: bytes, image: str | Path) -> str | None:
    """Say why the server would refuse an image's PNG, or None if it accepts it."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as prediction, Image.open(image) as original:
            if prediction.mode != submission.mode:
                return f"has mode {prediction.mode}; expected {submission.mode}"
            if prediction.size != original.size:
                return f"is {prediction.size} pixels, but {image} is {original.size} (width, height)"
            unknown = sorted(set(np.unique(np.asarray(prediction)).tolist()) - set(submission.values))
    except UNREADABLE as error:
        return f"cannot be read as PNG ({error})"
    return f"contains {join(unknown, limit=5)}; expected only {join(submission.values)}" if unknown else None


def _contents(archive: str | Path) -> Iterator[tuple[str, bytes]]:
    """Read the name and content of each file in an archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for name in zipped.namelist():
                yield name, zipped.read(name)
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                content = tar.extractfile(member)
                yield member.name, content.read() if content else b""
