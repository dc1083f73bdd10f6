"""List files, which say what images a split has."""

from pathlib import Path

from refinenet_pl.data.dataset import Sample
from refinenet_pl.errors import UserError


def listed_names(path: Path) -> list[str]:
    """Image names from a list file; of lines that hold paths of an image and its labels, the image's name.

    Raises:
        UserError: There is no such file.
    """
    return [Path(words[0]).stem for words in _lines(path)]


def listed_samples(path: Path, images: str, masks: str) -> list[Sample]:
    """The samples of a list file, in its order.

    Args:
        path: The file, in the dataset's root. A line is the name of an image, without suffix, or the paths below the
            root of an image and its labels, with white space between them.
        images: Folder below the root in which named images lie, as JPEG or PNG.
        masks: Folder below the root in which their labels lie, as PNG.

    Raises:
        UserError: There is no such file, or a line is neither.
    """
    root = path.parent
    samples = []
    for words in _lines(path):
        match words:
            case [name]:
                image, mask = root / images / f"{name}.jpg", root / masks / f"{name}.png"
                samples.append(Sample(image if image.is_file() else image.with_name(f"{name}.png"), mask, name))
            case [image_path, mask_path]:  # also where they start with a slash, as in the lists of DeepLab
                image, mask = root / image_path.lstrip("/"), root / mask_path.lstrip("/")
                samples.append(Sample(image, mask, image.stem))
            case _:
                raise UserError(
                    f"{path}: cannot make out the line {' '.join(words)!r}. Expected the name of an image, or the "
                    "paths of an image and of its labels, without spaces in them."
                )
    return samples


def existing(samples: list[Sample], source: str) -> list[Sample]:
    """The samples as they are, if all their files exist.

    Args:
        samples: What a split should have.
        source: Where the dataset comes from, for the error message.

    Raises:
        UserError: Files are missing.
    """
    files = [file for sample in samples for file in (sample.image, sample.mask) if file is not None]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(files)} files of the split are missing, among them {', '.join(missing[:5])}."
            f"\n{source}"
        )
    return samples


def _lines(path: Path) -> list[list[str]]:
    """The words of each line that is not empty."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. It must list the images of the split, one name a line.")
    return [line.split() for line in path.read_text().splitlines() if line.strip()]
