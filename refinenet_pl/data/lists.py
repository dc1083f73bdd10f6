"""List files: text files that list the images of a split."""

import codecs
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from refinenet_pl.archive_paths import AnyPath, as_path, path_below
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.split_errors import AbsentSplit, IncompleteSplit
from refinenet_pl.errors import UserError
from refinenet_pl.images import IMAGE_SUFFIXES, is_image
from refinenet_pl.text import join

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
END_OF_FILE = "\x1a"  # DOS ends text files with it


def listed_names(path: str | AnyPath) -> list[str]:
    """Read image names from a list file. In a line of two paths, image and label image, the name is the image's.

    Raises:
        UserError: The file does not exist, or is not text.
    """
    return [Path(words[0]).stem for words in _lines(path)]


def listed_groups(path: AnyPath) -> dict[str, str]:
    """Read a file whose lines are the name of an image and its group, such as its scene.

    Raises:
        UserError: The file is not text, or a line has another form.
    """
    groups = {}
    for words in _lines(path):
        if len(words) != 2:
            raise UserError(
                f"{path}: cannot parse the line {_shown(words)}; expected the name of an image and its group"
            )
        groups[words[0]] = words[1]
    return groups


def listed_samples(path: str | AnyPath, images: str, masks: str) -> list[Sample]:
    """Read the samples of a list file, in its order.

    The name of a sample is the name in its line, or the file name of its image without suffix. If two images of a list
    have the same file name, the names of its samples are the images' paths below the root.

    Args:
        path: The file, in the dataset's root. Each line is either an image name without suffix, or the paths of an
            image and its label image, relative to the root and separated by white space.
        images: Folder below the root with the images, of lines that hold a name.
        masks: Folder below the root with their label images.

    Raises:
        UserError: The file does not exist, is not text, or holds no name, or a line has another form.
    """
    path = as_path(path)
    root = path.parent
    samples = []
    for words in _lines(path):
        match words:
            case [name]:
                image = find_image(root / images, name, ".jpg")
                samples.append(Sample(image, find_image(root / masks, name, ".png"), name))
            case [image_path, mask_path]:  # DeepLab's lists start them with a slash
                image, mask = root / image_path.lstrip("/"), root / mask_path.lstrip("/")
                samples.append(Sample(image, mask, image.stem))
            case _:
                raise _wrong_line(path, words)
    if not samples:
        raise UserError(f"{path}: holds no names; expected a list of the split's images, one name per line")
    images_by_name = {sample.name: sample.image for sample in samples}
    if any(images_by_name[sample.name] != sample.image for sample in samples):
        paths = [path_below(sample.image, root).with_suffix("").as_posix() for sample in samples]
        return [sample._replace(name=name) for sample, name in zip(samples, paths, strict=True)]
    return samples


def own_samples(path: AnyPath, known: Mapping[str, Sample], root: AnyPath) -> list[Sample]:
    """Read the samples of a user's own list of a dataset.

    Args:
        path: The list. Each line is the name of a sample, the path of its image, or the paths of an image and its label
            image below the root.
        known: All samples of the dataset, by name.
        root: Root of the dataset.

    Raises:
        UserError: The list cannot be read or holds no name, or a name is unknown.
    """
    file_names = Counter(PurePosixPath(name).name for name in known)
    by_file_name = {PurePosixPath(name).name: sample for name, sample in known.items()}
    samples: list[Sample] = []
    unknown: list[str] = []
    for words in _lines(path):
        match words:
            case [name]:
                name = name.strip("/")
                stem = PurePosixPath(name).with_suffix("").as_posix() if is_image(name) else name
                file_name = PurePosixPath(stem).name
                sample = known.get(name) or known.get(stem)
                if sample is None and file_names[file_name] == 1:
                    sample = by_file_name[file_name]
                if sample is None:
                    unknown.append(name)
                else:
                    samples.append(sample)
            case [image_path, mask_path]:
                image, mask = root / image_path.lstrip("/"), root / mask_path.lstrip("/")
                samples.append(Sample(image, mask, image.stem))
            case _:
                raise _wrong_line(path, words)
    if unknown:
        raise UserError(
            f"{path}: {len(unknown)} of its names are not in {root}: {join(unknown, limit=5)}. Expected names such as "
            f"{join(sorted(known), limit=3)}"
        )
    if not samples:
        raise UserError(f"{path}: holds no names; expected a list of the split's images, one name per line")
    return samples


def find_image(folder: AnyPath, name: str, suffix: str) -> AnyPath:
    """Return the image file of a name without suffix.

    Args:
        folder: The folder.
        name: The name.
        suffix: The suffix that the dataset is published with. It comes first; then other image suffixes, lower case and
            upper case.

    Returns:
        The first file that exists. If there is none, the file with `suffix`.
    """
    suffixes = (suffix, ".png", *sorted(IMAGE_SUFFIXES))
    files = [folder / f"{name}{each}" for each in (*suffixes, *map(str.upper, suffixes))]
    return next((file for file in files if file.is_file()), files[0])


def require_files(samples: list[Sample], source: str) -> list[Sample]:
    """Return the samples unchanged if all their files exist.

    Args:
        samples: The samples that a split should have.
        source: Where to get the dataset. The error message ends with it.

    Raises:
        IncompleteSplit: Files are missing.
    """
    files = [file for sample in samples for file in (sample.image, sample.mask) if file is not None]
    missing = [file for file in files if not file.is_file()]
    lacking = {*missing}
    if missing:
        raise IncompleteSplit(
            f"{len(missing)} of {len(files)} files of the split are missing: {join(missing, limit=5)}.\n{source}",
            [f"{file}: listed, but there is no such file" for file in missing],
            [sample for sample in samples if not lacking & {sample.image, sample.mask}],
        )
    return samples


def _wrong_line(path: str | AnyPath, words: list[str]) -> UserError:
    return UserError(
        f"{path}: cannot parse the line {_shown(words)}; expected an image name, or the paths of an image and its "
        "label image, without spaces in them"
    )


def _shown(words: list[str]) -> str:
    line = " ".join(words)
    return repr(line if len(line) <= 80 else f"{line[:80]}...")


def _lines(path: str | AnyPath) -> list[list[str]]:
    """Read the words of each line that is not empty, in the encodings in which editors write text."""
    path = as_path(path)
    if not path.is_file():
        raise AbsentSplit(f"{path}: no such file; expected a list of the split's images, one name per line")
    content = path.read_bytes()
    try:
        text = content.decode("utf-16" if content.startswith(UTF16_MARKS) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not a text file in UTF-8 ({error}). Save it as UTF-8.") from error
    if "\0" in text:
        raise UserError(f"{path}: holds control characters, as UTF-16 without a byte order mark has. Save it as UTF-8.")
    return [line.split() for line in text.rstrip(f"{END_OF_FILE} \r\n").splitlines() if line.strip()]
