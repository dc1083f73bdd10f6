"""Images and videos without labels, for prediction."""

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
from refinenet_pl.data.video_frames import VideoFrames
from refinenet_pl.errors import UserError
from refinenet_pl.files import file_digest
from refinenet_pl.images import IMAGE_SUFFIXES, read_image
from refinenet_pl.prediction_folder import PredictionFolder
from refinenet_pl.video import is_video


class ImageDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Reads images and turns them upright, as their EXIF orientation says.

    A sample is {"image": tv_tensors.Image uint8 [3, H, W], "name": str, "source": str}, where "source" is the SHA-256
    of the file. A file that cannot be read is {"error": str, "name": str}, so that one broken image does not stop the
    prediction of the others. A file that is predicted already is {"finished": True, "name": str}.

    Args:
        samples: The files to read; see `find_images`.
        folder: Where earlier predictions are. None: there are none.
    """

    def __init__(self, samples: Sequence[Sample], folder: PredictionFolder | None = None) -> None:
        self.samples = samples
        self.folder = folder

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read an image."""
        sample = self.samples[index]
        try:
            source = file_digest(str(sample.image))
            if self.folder is not None and self.folder.has(sample.name, source):
                return {"finished": True, "name": sample.name}
            return {"image": read_image(sample.image, upright=True), "name": sample.name, "source": source}
        except UserError as error:
            return {"error": str(error), "name": sample.name}


class ImagesDataModule(pl.LightningDataModule):
    """Images and frames of videos to predict, one per step, at their own sizes.

    Args:
        paths: Image files, folders of images (see `find_images`), and video files.
        num_workers: Processes per device that read images; 0 reads in the predicting process.
        folder: Where earlier predictions are. None: there are none.

    Raises:
        UserError: A path has no images, two files have one name, or the program is missing that reads videos.
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        num_workers: int = 4,
        folder: PredictionFolder | None = None,
    ) -> None:
        super().__init__()
        listed = [paths] if isinstance(paths, str | Path) else paths
        videos = [Path(path) for path in listed if is_video(path)]
        self.dataset = ImageDataset(find_images([path for path in listed if not is_video(path)]), folder)
        self.videos = [VideoFrames(path, index, folder) for index, path in enumerate(videos)]
        self.num_workers = num_workers

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """Return single samples: the images, then the frames of each video."""
        images = [evaluation_loader(self.dataset, self.num_workers)] if len(self.dataset) else []
        return [*images, *(DataLoader(video, batch_size=None) for video in self.videos)]


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
