"""List files: text files that list the images of a split."""

from pathlib import Path

from refinenet_pl.data.dataset import Sample
from refinenet_pl.errors import UserError
from refinenet_pl.text import join


def listed_names(path: str | Path) -> list[str]:
    """Read image names from a list file. In a line of two paths, image and label image, the name is the image's.

    Raises:
        UserError: The file does not exist.
    """
    return [Path(words[0]).stem for words in _lines(Path(path))]


def listed_samples(path: str | Path, images: str, masks: str) -> list[Sample]:
    """Read the samples of a list file, in its order.

    Args:
        path: The file, in the dataset's root. Each line is either an image name without suffix, or the paths of an
            image and its label image, relative to the root and separated by white space.
        images: Folder below the root with the images, JPEG or PNG, of lines that hold a name.
        masks: Folder below the root with their label images, PNG.

    Raises:
        UserError: The file does not exist, or a line has another form.
    """
    path = Path(path)
    root = path.parent
    samples = []
    for words in _lines(path):
        match words:
            case [name]:
                image, mask = root / images / f"{name}.jpg", root / masks / f"{name}.png"
                samples.append(Sample(image if image.is_file() else image.with_name(f"{name}.png"), mask, name))
            case [image_path, mask_path]:  # DeepLab's lists start them with a slash
                image, mask = root / image_path.lstrip("/"), root / mask_path.lstrip("/")
                samples.append(Sample(image, mask, image.stem))
            case _:
                raise UserError(
                    f"{path}: cannot parse the line {' '.join(words)!r}; expected an image name, or the paths of an "
                    "image and its label image, without spaces in them"
                )
    return samples


def require_files(samples: list[Sample], source: str) -> list[Sample]:
    """Return the samples unchanged if all their files exist.

    Args:
        samples: The samples that a split should have.
        source: Where to get the dataset. The error message ends with it.

    Raises:
        UserError: Files are missing.
    """
    files = [Path(file) for sample in samples for file in (sample.image, sample.mask) if file is not None]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(files)} files of the split are missing: {join(missing, limit=5)}.\n{source}"
        )
    return samples


def _lines(path: Path) -> list[list[str]]:
    """Read the words of each line that is not empty."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a list of the split's images, one name per line")
    return [line.split() for line in path.read_text().splitlines() if line.strip()]
