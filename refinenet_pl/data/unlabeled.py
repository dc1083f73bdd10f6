"""Images without labels, for prediction."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from refinenet_pl.archive_paths import AnyPath
from refinenet_pl.data.dataset import Sample
from refinenet_pl.data.globs import images_below
from refinenet_pl.data.loaders import evaluation_loader
from refinenet_pl.errors import UserError
from refinenet_pl.images import IMAGE_SUFFIXES, read_image


class ImageDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Reads images and turns them upright, as their EXIF orientation says.

    A sample is {"image": tv_tensors.Image uint8 [3, H, W], "name": str}. A file that cannot be read is {"error": str,
    "name": str}, so that one broken image does not stop the prediction of the others.

    Args:
        samples: The files to read; see `find_images`.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read an image."""
        sample = self.samples[index]
        try:
            return {"image": read_image(sample.image, upright=True), "name": sample.name}
        except UserError as error:
            return {"error": str(error), "name": sample.name}


class ImagesDataModule(pl.LightningDataModule):
    """Images to predict, one per step, at their own sizes.

    Args:
        paths: Image files and folders of images; see `find_images`.
        num_workers: Processes per device that read images; 0 reads in the predicting process.
    """

    def __init__(self, paths: str | Path | Sequence[str | Path], num_workers: int = 4) -> None:
        super().__init__()
        self.dataset = ImageDataset(find_images(paths))
        self.num_workers = num_workers

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return single samples."""
        return evaluation_loader(self.dataset, self.num_workers)


def find_images(paths: str | Path | Sequence[str | Path]) -> list[Sample]:
    """Find image files.

    Args:
        paths: Image files and folders, or one of them. Folders are searched recursively for files with an image suffix,
            also behind symbolic links.

    Returns:
        Samples without labels, in the order of the paths, and sorted by name within a folder. The name of a sample is
        its path below the given folder, without suffix; for a file that is given itself, it is the file's stem.

    Raises:
        UserError: A path does not exist, a folder contains no image, or two images would have the same name.
    """
    listed = [paths] if isinstance(paths, str | Path) else paths
    samples = [sample for path in listed for sample in _find(Path(path))]
    by_name: dict[str, AnyPath] = {}
    for sample in samples:
        if sample.name in by_name:
            raise UserError(
                f"{by_name[sample.name]} and {sample.image}: both results would be named {sample.name!r}. "
                "Rename one image, or predict them in separate runs with separate output folders."
            )
        by_name[sample.name] = sample.image
    return samples


def _find(path: Path) -> list[Sample]:
    if path.is_file():
        return [Sample(path, None, path.stem)]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; expected image files or folders of images")
    files = sorted(file for file in images_below(path) if isinstance(file, Path))
    if not files:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"{path}: no images in this folder; expected files with one of the suffixes {suffixes}")
    return [Sample(file, None, file.relative_to(path).with_suffix("").as_posix()) for file in files]
