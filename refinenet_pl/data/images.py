"""Images without labels, for prediction."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from refinenet_pl.data.base import evaluation_loader
from refinenet_pl.data.dataset import Sample
from refinenet_pl.errors import UserError
from refinenet_pl.images import IMAGE_SUFFIXES, is_image, read_image


class ImageDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Reads images, turned upright as their EXIF orientation says.

    A sample is {"image": tv_tensors.Image uint8 [3, H, W], "name": str}.

    Args:
        samples: What to read; see `find_images`.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Reads an image; raises UserError if that is not possible."""
        sample = self.samples[index]
        return {"image": read_image(sample.image, upright=True), "name": sample.name}


class ImagesDataModule(pl.LightningDataModule):
    """The images to predict, one a step, at their own sizes.

    Args:
        paths: Image files, and folders of images; see `find_images`.
        num_workers: Processes that read them, on each device; 0 reads in the predicting process.
    """

    def __init__(self, paths: Sequence[Path], num_workers: int = 4) -> None:
        super().__init__()
        self.dataset = ImageDataset(find_images(paths))
        self.num_workers = num_workers

    def predict_dataloader(self) -> DataLoader[Any]:
        """Single samples."""
        return evaluation_loader(self.dataset, self.num_workers)


def find_images(paths: Sequence[Path]) -> list[Sample]:
    """Finds images; those in folders are told by their suffixes.

    Args:
        paths: Image files, and folders that are searched with all folders in them.

    Returns:
        Samples without labels: first path first, and each folder's files in order of their names. A sample's name is
        its path in the given folder without suffix; that of a file given itself is its stem.

    Raises:
        UserError: A path does not exist, a folder holds no image, or two images would have the same name.
    """
    samples = [sample for path in paths for sample in _find(path)]
    by_name: dict[str, Path] = {}
    for sample in samples:
        if sample.name in by_name:
            raise UserError(
                f"{by_name[sample.name]} and {sample.image}: their results would both be named {sample.name!r}. "
                "Rename one, or predict them in separate runs with separate output folders."
            )
        by_name[sample.name] = sample.image
    return samples


def _find(path: Path) -> list[Sample]:
    if path.is_file():
        return [Sample(path, None, path.stem)]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder. Give image files, or folders of images.")
    files = [file for file in sorted(path.rglob("*")) if is_image(file)]
    if not files:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"{path}: no images in this folder. Expected files with one of the suffixes {suffixes}.")
    return [Sample(file, None, file.relative_to(path).with_suffix("").as_posix()) for file in files]
