"""Finds the images of a folder, and pairs images with label images by name."""

from collections.abc import Mapping

from refinenet_pl.archive_paths import AnyPath, as_path, entries
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.split_errors import AbsentSplit, IncompleteSplit
from refinenet_pl.errors import UserError
from refinenet_pl.images import is_image
from refinenet_pl.text import join


def images_in(folder: str | AnyPath, suffix: str = "") -> dict[str, AnyPath]:
    """Return the image files directly in a folder, by file name without extension.

    Args:
        folder: An existing folder.
        suffix: Keep only names that end with this, and remove it from them.

    Raises:
        UserError: Two files have the same name.
    """
    found: dict[str, AnyPath] = {}
    for path in entries(folder):
        if is_image(path) and path.stem.endswith(suffix):
            other = found.setdefault(path.stem.removesuffix(suffix), path)
            if other != path:
                raise UserError(f"{other} and {path.name} have the same name; keep only one of them")
    return found


def pair(images: Mapping[str, str | AnyPath], masks: Mapping[str, str | AnyPath], where: str) -> list[Sample]:
    """Pair images and label images by name.

    Args:
        images: Image files by name.
        masks: Label images by name.
        where: The folders, for error messages.

    Returns:
        Samples, sorted by name.

    Raises:
        AbsentSplit: There are no images.
        IncompleteSplit: Files have no partner.
    """
    samples = [
        Sample(as_path(images[name]), as_path(masks[name]), name) for name in sorted(images.keys() & masks.keys())
    ]
    unpaired = sorted(images.keys() ^ masks.keys())
    if unpaired:
        files = join((images.get(name) or masks[name] for name in unpaired), limit=5)
        raise IncompleteSplit(
            f"{where}: {len(unpaired)} of {len(images.keys() | masks.keys())} samples lack either the image or the "
            f"label image: found only {files}. Add the missing files, or remove these.",
            [f"{images[name]}: no label image" if name in images else f"{masks[name]}: no image" for name in unpaired],
            samples,
        )
    if not images:
        raise AbsentSplit(f"{where}: no images; expected at least one image and its label image")
    return samples
