"""Predictions of a study's rows on the images where they differ most, small enough to lie in a page."""

import base64
import io
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from pytorch_lightning.cli import instantiate_class
from rich.progress import track

from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.metrics import mean_over_classes
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.pictures import IGNORE_COLOR, Palette, palette_image, save_picture
from refinenet_pl.files import read_yaml
from refinenet_pl.images import read_mask
from refinenet_pl.reports.summary import SeedRun, Summary
from refinenet_pl.studies.commands import REFINENET

COUNT = 24
"""Images: what a page of a few megabytes holds for half a dozen rows."""
LONGEST_SIDE = 640
"""Of the pictures in the page, in pixels."""


@dataclass(frozen=True)
class ReportImages:
    """What a page shows of predictions.

    Attributes:
        colors: CSS color of each class.
        void: CSS color of void.
        images: Of each image its "name", its size as "width" and "height", and as data URLs "image", "truth", and
            "masks" with one prediction a row.
        miou: Of each image and finished row, as `image_miou` has it.
    """

    colors: list[str]
    void: str
    images: list[dict[str, object]]
    miou: list[list[float]]


def image_miou(images: ImageMatrices) -> np.ndarray:
    """Mean IoU in 0..1 of each image over the classes that its truth has, float64 [images]; NaN if that is all void."""
    hits, true = images.correct_pixels(), images.target_pixels()
    unions = true + images.predicted_pixels() - hits
    return mean_over_classes(np.divide(hits, unions, out=np.full_like(hits, np.nan), where=true > 0))


def pictures(summary: Summary, count: int = COUNT) -> ReportImages:
    """Predict what is not there yet, and take up images, truth and predictions.

    The first finished seed of a row stands for it. Predictions are kept in the run folders, in `predictions/`.

    Raises:
        UserError: Data, or a checkpoint whose predictions are not there, are missing, or cannot be used.
    """
    runs = [row.runs[0] for row in summary.finished]
    miou = np.stack([image_miou(run.images) for run in runs], axis=1)
    indices = most_different(miou)[:count]
    names = [runs[0].images.names[index] for index in indices]
    data = _datamodule(runs[0].folder)
    dataset, colors = data.dataset("val"), data.classes.colors
    places = {sample.name: place for place, sample in enumerate(dataset.samples)}
    if unknown := [name for name in names if name not in places]:
        raise UserError(f"the validation split of {type(data).__name__} in {data.root} has no image {unknown[0]}")
    folders = predict(runs, dataset, [places[name] for name in names])
    images = [
        _embedded(dataset[places[name]], [folder / f"{name}.png" for folder in folders], colors)
        for name in track(names, "embedding images", transient=True)
    ]
    return ReportImages([_css(color) for color in colors], _css(IGNORE_COLOR), images, miou[indices].tolist())


def most_different(miou: np.ndarray) -> np.ndarray:
    """Indices of the images, those first over which the rows spread most; without those that are all void.

    Args:
        miou: float64 [images, rows].
    """
    spread = np.ptp(miou, axis=1)
    return np.argsort(-spread, kind="stable")[: np.count_nonzero(~np.isnan(spread))]


def predict(runs: Sequence[SeedRun], dataset: SegmentationDataset, places: Sequence[int]) -> list[Path]:
    """The folders of the runs' predictions, which are made by `refinenet predict` where one is missing.

    Args:
        runs: Each with the checkpoint of its training.
        dataset: The images.
        places: Which of them.
    """
    names = [dataset.samples[place].name for place in places]
    folders = [run.folder / "predictions" for run in runs]
    lacking = [
        (run, folder)
        for run, folder in zip(runs, folders, strict=True)
        if not all((folder / f"{name}.png").is_file() for name in names)
    ]
    commands = [_command(run, folder) for run, folder in lacking]  # which looks for the checkpoints first
    if commands:
        with TemporaryDirectory() as images:
            # Their pixels as they were evaluated, whatever file they came from, under the names of the samples.
            for place, name in zip(places, names, strict=True):
                save_picture(Path(images, f"{name}.png"), _pixels(dataset[place]))
            for command in track(commands, "predicting", transient=True):
                done = subprocess.run([*command, "--images", images], capture_output=True, text=True, check=False)
                if done.returncode:
                    raise UserError(f"{' '.join(command)} failed:\n{done.stderr[-1000:]}")
    return folders


def _command(run: SeedRun, output: Path) -> list[str]:
    checkpoint = (run.training or run.folder) / "checkpoints" / "best.ckpt"
    if not checkpoint.is_file():
        raise UserError(f"{output} lacks some predictions, and there is no checkpoint {checkpoint} to make them with")
    options = [
        "--trainer.devices=1",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
        "--num_workers=0",
    ]
    if inference := read_yaml(run.folder / "config.yaml", "run")["model"].get("inference"):
        options.append(f"--model.inference={json.dumps(inference)}")
    command = [*REFINENET, "predict", "--ckpt_path", str(checkpoint)]
    return [*command, "--output", str(output), *options]


def _datamodule(run: Path) -> SegmentationDataModule:
    section = read_yaml(run / "config.yaml", "run").get("data") or {}
    try:
        data: SegmentationDataModule = instantiate_class((), section)
    except (KeyError, ImportError, AttributeError, TypeError) as error:
        raise UserError(f"{run / 'config.yaml'}: cannot make the data of its section `data`: {error}") from error
    data.prepare_data()
    return data


def _embedded(sample: dict[str, object], masks: Sequence[Path], colors: Palette) -> dict[str, object]:
    image = Image.fromarray(_pixels(sample))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    truth = np.asarray(sample["mask"])

    def shrunk(labels: np.ndarray) -> str:
        return _url(palette_image(labels, colors).resize(image.size, Image.Resampling.NEAREST), "png", optimize=True)

    return {
        "name": sample["name"],
        "width": image.width,
        "height": image.height,
        "image": _url(image, "jpeg", quality=80),
        "truth": shrunk(truth),
        "masks": [shrunk(read_mask(path)) for path in masks],
    }


def _pixels(sample: dict[str, object]) -> np.ndarray:
    """The image of a sample, uint8 [H, W, 3]."""
    return np.ascontiguousarray(np.asarray(sample["image"]).transpose(1, 2, 0))


def _url(image: Image.Image, kind: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _css(color: Sequence[int]) -> str:
    return f"rgb({', '.join(map(str, color))})"
