"""The files that the evaluation servers of Cityscapes and VOC take, and checks of an archive of them."""

import io
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from refinenet_pl.data.cityscapes import CITYSCAPES, EVALUATED_IDS
from refinenet_pl.data.classes import Classes
from refinenet_pl.data.voc import VOC
from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.images import UNREADABLE


@dataclass(frozen=True)
class Submission:
    """What a server takes: an archive of one PNG an image, each of its image's size.

    Attributes:
        classes: The classes that are scored.
        values: The pixel value of each class, in the order of train ids.
        mode: Pillow's mode of the PNGs: "L", 8 bit gray, or "P", a palette.
        stem: Matches the names, without suffix, of the images that are scored.
        folder: Where the PNGs lie in the archive, with a slash at the end, or "".
        archive: The archive's name; .zip, else a gzipped tar.
        images: How many images the test set has.
    """

    classes: Classes
    values: tuple[int, ...]
    mode: str
    stem: str
    folder: str
    archive: str
    images: int

    def member(self, name: str) -> str:
        """The path in the archive of the PNG for an image, from the image's path without suffix."""
        return f"{self.folder}{Path(name).name}.png"

    def check_classes(self, names: Sequence[str]) -> None:
        """Raises UserError where a network predicts other classes than are scored."""
        if tuple(names) != self.classes.names:
            raise UserError(
                f"the network predicts {len(names)} classes ({_few(names)}), but the server expects the "
                f"{len(self.classes)} classes {_few(self.classes.names)}: give the checkpoint of a network that was "
                "trained on this dataset, or predict without --submission"
            )

    def members(self, images: Mapping[str, Path]) -> dict[str, Path]:
        """The image of each file in the archive.

        Args:
            images: Image files by their names: path in the folder that was given, without suffix.

        Raises:
            UserError: An image is none of the dataset's, or the files of two would have one name.
        """
        found: dict[str, Path] = {}
        for name, image in images.items():
            if not re.fullmatch(self.stem, Path(name).name):
                raise UserError(
                    f"{image}: the server scores images with names like {self.stem} only; give --images the folder of "
                    "the dataset's test images, without other files"
                )
            other = found.setdefault(self.member(name), image)
            if other != image:
                raise UserError(f"{other} and {image} would both be {self.member(name)} in the archive: leave out one")
        return found


SUBMISSIONS = {
    # https://www.cityscapes-dataset.com/submit, and evalPixelLevelSemanticLabeling.py of cityscapesScripts, with which
    # the server scores: label ids, not train ids, in one <city>_123456_123456*.png an image, in any folder.
    "cityscapes": Submission(
        CITYSCAPES, EVALUATED_IDS, "L", r"[a-z]+_\d{6}_\d{6}_leftImg8bit", "", "cityscapes.zip", images=1525
    ),
    # VOC2012's devkit documentation, section 5, for the folder and the palette PNGs; the server takes a gzipped tar.
    # Competition 6 allows any training data but the test set; 5, for VOC's alone, rules out ImageNet's weights.
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


def write_archive(submission: Submission, folder: Path, members: Mapping[str, Path]) -> Path:
    """Packs the PNGs that lie under a folder, and checks what was packed; a faulty archive gets no final name.

    Args:
        submission: What the server takes.
        folder: Where the PNGs lie, by their paths in the archive; the archive goes there too.
        members: See `Submission.members`.

    Returns:
        The archive's path.

    Raises:
        UserError: See `check_archive`.
    """
    archive = folder / submission.archive
    written = {member: folder / member for member in members if (folder / member).is_file()}
    packing = track(written.items(), description=f"Packing {archive.name}", transient=True)
    with atomic_write(archive) as beside:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(beside, "w") as zipped:
                for member, path in packing:
                    zipped.write(path, member)
        else:
            with tarfile.open(beside, "w:gz") as tar:
                for member, path in packing:
                    tar.add(path, member)
        check_archive(submission, beside, members)
    return archive


def check_archive(submission: Submission, archive: Path, members: Mapping[str, Path]) -> None:
    """Reads an archive as the server would.

    Args:
        submission: What the server takes.
        archive: A zip or a gzipped tar.
        members: The image of each file that must be in it.

    Raises:
        UserError: A file is missing, twice there, not wanted, no PNG of the right kind, of another size than its image,
            or holds a value that is no class.
    """
    missing = set(members)
    for member, content in track(
        _contents(archive), description=f"Checking {submission.archive}", total=len(members), transient=True
    ):
        if member not in missing:
            raise UserError(f"{archive}: {member} is in it twice, or is for none of the images")
        missing.remove(member)
        fault = _fault(submission, content, members[member])
        if fault:
            raise UserError(f"{archive}: {member} {fault}")
    if missing:
        raise UserError(
            f"{archive}: lacks {len(missing)} of {len(members)} files, among them {_few(sorted(missing))}; where "
            "several machines predict, --output must be a folder that they share"
        )


def _fault(submission: Submission, content: bytes, image: Path) -> str | None:
    """What the server would not take of a PNG for an image, or None."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture, Image.open(image) as original:
            if picture.mode != submission.mode:
                return f"is a picture of mode {picture.mode}; expected {submission.mode}"
            if picture.size != original.size:
                return f"is {picture.size} pixels, but {image} is {original.size} (width, height)"
            unknown = sorted(set(np.unique(np.asarray(picture)).tolist()) - set(submission.values))
    except UNREADABLE as error:
        return f"cannot be read as PNG ({error})"
    return f"holds {_few(unknown)}; expected only {submission.values}" if unknown else None


def _contents(archive: Path) -> Iterator[tuple[str, bytes]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for name in zipped.namelist():
                yield name, zipped.read(name)
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                content = tar.extractfile(member)
                yield member.name, content.read() if content else b""


def _few(values: Sequence[object], most: int = 5) -> str:
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")
