"""The receptive field of each row of a study, measured on validation images and kept beside its runs."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.per_image import INVALID_ARCHIVE
from refinenet_pl.evaluation.receptive_field import ReceptiveField, measure
from refinenet_pl.evaluation.segmenter import Segmenter
from refinenet_pl.files import atomic_write, path_inside
from refinenet_pl.reports.page_images import read_samples, run_data
from refinenet_pl.reports.run_objects import create
from refinenet_pl.reports.seed_runs import SeedRun
from refinenet_pl.studies.folders import study_folder
from refinenet_pl.studies.study import Study
from refinenet_pl.weights.loading import load
from refinenet_pl.weights.trust import network_class

IMAGES = 16
"""Number of images that the field is averaged over, evenly spaced in the split."""
LONGEST_SIDE = 769
"""Larger images are cut to the central square of this size, which bounds the memory."""


def field_file(study: Study, runs: Path, row: str) -> Path:
    """Return the file of a row's receptive field, by `Cell.row`."""
    return path_inside(study_folder(runs, study) / "receptive_fields", f"{row}.npz")


def write_field(path: Path, run: SeedRun, trust: bool = False) -> None:
    """Measure the receptive field of a trained network, unless it is known.

    Args:
        path: The file.
        run: The first finished run of a row.
        trust: As for `run_data`.

    Raises:
        UserError: The checkpoint or the dataset cannot be read, or the network cannot be created.
    """
    if read_field(path, run) is not None:
        return
    segmenter = load(run.checkpoint, _own_network(run, trust)).to("cuda" if torch.cuda.is_available() else "cpu")
    field = measure(segmenter.network, _central_images(run, segmenter, trust))
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, run=np.array(run.folder.path.name), weights=field.weights, theoretical=np.array(field.theoretical)
        )


def _own_network(run: SeedRun, trust: bool) -> nn.Module | None:
    """Create the network of a run whose class `load` refuses; None for other networks."""
    section = run.folder.read_config()["model"]["network"]
    try:
        network_class(section["class_path"])
    except UserError:
        arguments = section.get("init_args") or {}
        without_weights = {"encoder_weights": None} if "encoder_weights" in arguments else {}
        network: nn.Module = create(run, "model.network", section | {"init_args": arguments | without_weights}, trust)
        return network.eval()
    return None


def _central_images(run: SeedRun, segmenter: Segmenter, trust: bool) -> Iterator[Tensor]:
    names = run.images.names
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, min(IMAGES, len(names))).round().astype(int)]
    for sample in read_samples(run_data(run, trust), run.split, chosen):
        image = torch.as_tensor(sample["image"])
        top, left = (max(side - LONGEST_SIDE, 0) // 2 for side in image.shape[1:])
        yield segmenter.normalized(image[None, :, top : top + LONGEST_SIDE, left : left + LONGEST_SIDE])


def read_field(path: Path, run: SeedRun) -> ReceptiveField | None:
    """Return the receptive field of a run; None if it was not measured, or for an earlier run of its cell.

    Raises:
        UserError: The file is damaged, or has other content.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            name, weights, theoretical = str(file["run"]), file["weights"], float(file["theoretical"])
        if weights.ndim != 2 or weights.dtype.kind != "f" or not abs(weights.sum() - 1) < 1e-3:
            raise ValueError(f"found weights of shape {weights.shape} and type {weights.dtype}; expected shares")
    except INVALID_ARCHIVE as error:
        raise UserError(f"{path}: cannot read the receptive field ({error}); delete it to measure again") from error
    return ReceptiveField(weights, theoretical) if name == run.folder.path.name else None
