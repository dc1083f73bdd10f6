"""The ceiling of each class: what a perfect network could score on a dataset, kept beside the runs of a study."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.data.parallel import map_samples, usable_cpus
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.ceiling import limit_counts, limit_iou
from refinenet_pl.evaluation.results import defined
from refinenet_pl.files import read_json, write_json
from refinenet_pl.reports.page_images import run_data
from refinenet_pl.reports.seed_runs import SeedRun
from refinenet_pl.studies.folders import study_folder
from refinenet_pl.studies.study import Study, row_name

SHOWN = ("stride 4", "moved 1 px")
"""The limits that reports show."""

Ceilings = Mapping[str, list[float | None]]
"""IoU of each class, in 0..1, by the name of a limit; None for classes that the targets lack."""


def split_ceiling(dataset: SegmentationDataset, num_classes: int, workers: int) -> dict[str, Tensor]:
    """Return the IoU of each class at each limit: see `limit_iou`.

    Args:
        dataset: The samples. Only their label images are read.
        num_classes: Number of classes.
        workers: Number of processes.
    """
    task = partial(_sample_counts, dataset, num_classes)
    counts = map_samples(task, len(dataset), workers, "Reading labels")
    return limit_iou(torch.stack(counts).sum(0))


def _sample_counts(dataset: SegmentationDataset, num_classes: int, index: int) -> Tensor:
    return limit_counts(torch.from_numpy(dataset.mask(index)), num_classes)


def ceilings_file(study: Study, runs: Path, dataset: str | None) -> Path:
    """Return the file of a dataset's ceilings."""
    return study_folder(runs, study) / ("_".join(filter(None, ["ceilings", row_name({}, dataset)])) + ".json")


def write_ceilings(path: Path, run: SeedRun, trust: bool = False) -> None:
    """Write the ceilings of a run's evaluated images, unless they are known for these images.

    Args:
        path: The file.
        run: A finished run on the dataset.
        trust: As for `run_data`.

    Raises:
        UserError: The dataset cannot be read.
    """
    if read_ceilings(path, run) is not None:
        return
    data = run_data(run, trust)
    dataset = data.dataset(run.split).plain()
    names = set(run.images.names)
    dataset.samples = [sample for sample in dataset.samples if sample.name in names]
    limits = split_ceiling(dataset, len(data.classes.names), usable_cpus())
    content = {
        "fingerprint": run.images.fingerprint(),
        "ceilings": {limit: [defined(value) for value in values.tolist()] for limit, values in limits.items()},
    }
    write_json(path, content)


def read_ceilings(path: Path, run: SeedRun) -> Ceilings | None:
    """Return the ceilings of a run's evaluated images; None if they were not written, or for other images.

    Raises:
        UserError: The file has other content.
    """
    if not path.is_file():
        return None
    content = read_json(path, "delete it to measure again", {"ceilings": dict})
    try:
        values = {limit: content["ceilings"][limit] for limit in SHOWN}
        ceilings = {limit: [None if iou is None else float(iou) for iou in each] for limit, each in values.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot read the ceilings ({error!r}); delete it to measure again") from error
    fits = all(len(each) == len(run.images.class_names) for each in ceilings.values())
    return ceilings if fits and content.get("fingerprint") == run.images.fingerprint() else None
