"""The images of a report's page: those on which the rows differ most, with their target and predictions."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.pictures import IGNORED, Palette, palette_image, resize_mask
from refinenet_pl.images import read_mask
from refinenet_pl.prediction_folder import PredictionFolder
from refinenet_pl.progress import track
from refinenet_pl.reports.run_objects import create
from refinenet_pl.reports.seed_runs import SeedRun

COUNT = 24
"""Images per dataset. A page with half a dozen rows then takes a few megabytes."""
LONGEST_SIDE = 640
"""Longest side of the embedded images, in pixels."""


@dataclass(frozen=True)
class Selection:
    """The images of a page, before they are read.

    Attributes:
        runs: The first finished seed of each finished row.
        names: Names of the images, in the order of `most_telling`.
        mean_iou: Mean IoU of each image and run, in 0..1.
    """

    runs: list[SeedRun]
    names: list[str]
    mean_iou: list[list[float]]

    def missing(self, run: SeedRun) -> list[str]:
        """Return the images without a prediction of a run."""
        return [name for name in self.names if not prediction_file(run, name).is_file()]

    @property
    def split(self) -> str:
        """The split of the images, "val" or "test"."""
        return self.runs[0].split

    @property
    def incomplete_runs(self) -> list[SeedRun]:
        """The runs without a prediction of some image."""
        return [run for run in self.runs if self.missing(run)]

    @property
    def missing_images(self) -> list[str]:
        """The images without a prediction of some run."""
        missing = {name for run in self.runs for name in self.missing(run)}
        return [name for name in self.names if name in missing]


@dataclass(frozen=True)
class ReportImages:
    """Images, targets and predictions, embedded in a page.

    Attributes:
        colors: CSS color of each class.
        images: For each image its "name", "width" and "height", the data URLs "image" and "target", and "predictions"
            with one data URL per row, None where there is no prediction.
        mean_iou: Mean IoU of each image and row, in 0..1.
    """

    colors: list[str]
    images: list[dict[str, object]]
    mean_iou: list[list[float]]


def prediction_file(run: SeedRun, name: str) -> Path:
    """Return the mask that `refinenet predict` writes for an image."""
    return PredictionFolder(run.predictions).mask(name)


def select_images(runs: Sequence[SeedRun], count: int = COUNT) -> Selection:
    """Select the images on which the rows differ most; those with the lowest IoU if there is one row.

    Args:
        runs: One run per row, on the same images.
        count: Number of images at most.
    """
    mean_iou = np.stack([run.images.mean_iou() for run in runs], axis=1)
    indices = most_telling(mean_iou)[:count]
    names = [runs[0].images.names[index] for index in indices]
    return Selection(list(runs), names, mean_iou[indices].tolist())


def most_telling(mean_iou: np.ndarray) -> np.ndarray:
    """Return the indices of the images in the order of a page, without images that are all ignored.

    Those with the largest range over the rows come first; with one row, those with the lowest IoU.

    Args:
        mean_iou: float64 [images, rows].
    """
    keys = -np.ptp(mean_iou, axis=1) if mean_iou.shape[1] > 1 else mean_iou[:, 0]
    return np.argsort(keys, kind="stable")[: np.count_nonzero(~np.isnan(keys))]


def embed_images(selection: Selection, trust: bool = False) -> ReportImages | None:
    """Read and embed the images that have a prediction; return None if no image has one.

    Args:
        selection: The images.
        trust: As for `run_data`.

    Raises:
        UserError: The dataset or a file cannot be read.
    """
    missing = [set(selection.missing(run)) for run in selection.runs]
    shown = [i for i, name in enumerate(selection.names) if not all(name in names for names in missing)]
    if not shown:
        return None
    data = run_data(selection.runs[0], trust)
    colors = data.classes.colors
    names = [selection.names[i] for i in shown]
    images = []
    with track(read_samples(data, selection.split, names), "embedding images", len(names)) as samples:
        for sample in samples:
            files = [prediction_file(run, str(sample["name"])) for run in selection.runs]
            images.append(_embed(sample, files, colors))
    mean_iou = [selection.mean_iou[i] for i in shown]
    return ReportImages([_css(color) for color in colors], images, mean_iou)


def run_data(run: SeedRun, trust: bool = False) -> SegmentationDataModule:
    """Return the data module of a run's configuration.

    Args:
        run: The run. Its folder may be a stranger's.
        trust: Whether its configuration may name any class. Otherwise it names a class of this package, or
            one that the user has named.

    Raises:
        UserError: The class is not trusted, or cannot be created.
    """
    data: SegmentationDataModule = create(run, "data", run.folder.read_config().get("data") or {}, trust)
    data.prepare_data()
    return data


def read_samples(data: SegmentationDataModule, split: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Read evaluated samples by name.

    Args:
        data: Data module with the samples.
        split: "val" or "test".
        names: Names of the samples.

    Raises:
        UserError: The split has no sample of a name.
    """
    dataset = data.dataset(split)
    indices = {sample.name: index for index, sample in enumerate(dataset.samples)}
    for name in names:
        if name not in indices:
            raise UserError(f"the split {split} of {type(data).__name__} in {data.root} has no image {name}")
        yield dataset[indices[name]]


def image_pixels(sample: dict[str, Any]) -> np.ndarray:
    """Return the image of a sample, uint8 [H, W, 3]."""
    return np.ascontiguousarray(np.asarray(sample["image"]).transpose(1, 2, 0))


def _embed(sample: dict[str, Any], predictions: Sequence[Path], colors: Palette) -> dict[str, object]:
    image = Image.fromarray(image_pixels(sample))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)

    def embed_mask(mask: np.ndarray) -> str:
        resized = palette_image(resize_mask(mask, image.size), colors)
        return _data_url(resized, "png", optimize=True, transparency=IGNORED)  # the page shows stripes through it

    return {
        "name": sample["name"],
        "width": image.width,
        "height": image.height,
        "image": _data_url(image, "jpeg", quality=80),
        "target": embed_mask(np.asarray(sample["mask"])),
        "predictions": [embed_mask(read_mask(path)) if path.is_file() else None for path in predictions],
    }


def _data_url(image: Image.Image, kind: str, **options: Any) -> str:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _css(color: Sequence[int]) -> str:
    return f"rgb({', '.join(map(str, color))})"
