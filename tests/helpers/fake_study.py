"""The folders that finished runs of a study leave: seeded random metrics, no network."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml

from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import summarize, summarize_intervals
from refinenet_pl.files import write_json
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.folders import cell_folder, study_folder
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.measure import inference_file
from refinenet_pl.studies.study import Cell, Study, row_name

CLASSES = ("road", "car", "traffic light")
VERSIONS = {"torch": "2.6", "device": "abacus"}


def write_study(
    folder: Path,
    levels: Sequence[str] = ("none", "original", "improved"),
    datasets: Sequence[str] = (),
    **keys: object,
) -> Path:
    """Write a study of one factor, `pooling`.

    Args:
        folder: Folder of the study.
        levels: Levels of the factor.
        datasets: Names of datasets; none for a study of one dataset.
        keys: Further keys of the study.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = {"model": {"network": {"class_path": "Net"}}, "data": {"class_path": "Data"}}
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    study: dict[str, object] = {
        "base": "base.yaml",
        "factors": {"pooling": {level: {"model.network.init_args.pooling": level} for level in levels}},
        "seeds": [0, 1],
        "image_size": [360, 480],
    }
    for name in datasets:
        (folder / f"{name}.yaml").write_text(
            yaml.safe_dump({"data": {"class_path": "Data", "init_args": {"root": name}}})
        )
    if datasets:
        study["datasets"] = {name: {"base": f"{name}.yaml"} for name in datasets}
    path = folder / "pooling_study.yaml"
    path.write_text(yaml.safe_dump(study | keys, sort_keys=False))
    return path


def finish(
    path: Path,
    runs: Path,
    class_names: Sequence[str] = CLASSES,
    images: int = 20,
    quality: Sequence[float] = (0.7, 0.7, 0.9, 0.75, 0.8, 0.85, 0.6),
    unfinished: Sequence[str] = (),
) -> Study:
    """Finish the cells of a study.

    Args:
        path: File of the study.
        runs: Folder of all runs.
        class_names: Names of the classes.
        images: Number of images; each further dataset has one more.
        quality: Fraction of correct pixels of each row.
        unfinished: Names of cells to leave out.
    """
    study = load_study(path)
    for cell in study.cells:
        if cell.name not in unfinished:
            row, dataset = study.grid.index(cell.levels), study.dataset_names.index(cell.dataset)
            trained = next(group[0] for group in study.cell_groups if cell in group)
            matrices = draw(quality[row], [row, cell.seed, dataset], class_names, images + dataset)
            finish_cell(study, cell, runs, matrices, trained)
    write_inference(study, runs)
    return study


def draw(quality: float, seed: Sequence[int], class_names: Sequence[str], images: int) -> ImageMatrices:
    """Draw matrices with 1000 pixels of each class but the last; wrong pixels are predicted as the next class."""
    rng, count = np.random.default_rng(seed), len(class_names)
    matrices = ImageMatrices(class_names)
    for index in range(images):
        matrix = np.zeros((count, count), np.int64)
        for label in range(count - 1):
            correct = int(1000 * np.clip(quality - 0.1 * (label % 4) + rng.normal(0, 0.1), 0, 1))
            matrix[label, label] = correct
            matrix[label, (label + 1) % (count - 1)] += 1000 - correct
        matrices.add(f"image_{index:03}", matrix)
    return matrices


def finish_cell(study: Study, cell: Cell, runs: Path, images: ImageMatrices, trained: Cell) -> None:
    """Write a run folder without checkpoint; without metrics and costs if the cell only evaluates another one."""
    suffix = "" if cell is trained else "-validate"
    run = RunFolder(cell_folder(runs, study, cell).path / f"20260101-000000-abcd{suffix}")
    run.path.mkdir(parents=True)
    run.config.write_text(yaml.safe_dump(cell.config))
    images.save(run.per_image)
    results = {
        **summarize(torch.from_numpy(images.total()), images.class_names),
        "intervals": summarize_intervals(images),
        "versions": VERSIONS,
    }
    write_json(run.results, results)
    if cell is trained:
        write_training(run, results["miou"], cell.seed)


def write_training(run: RunFolder, miou: float, seed: int) -> None:
    """Write metrics and costs of a training."""
    write_metrics(run.metrics, [(99, 0.5 * miou), (199, 0.8 * miou), (299, 0.95 * miou), (399, miou)])
    costs = {"parameters": 3_300_000, "steps": 400, "seconds": 3600.0 + 600 * seed, "peak_memory_mb": 1500.0 + seed}
    write_json(run.costs, costs)


def write_metrics(path: Path, points: Sequence[tuple[int, float]]) -> None:
    """Write a metrics file with a line of the training loss before each validation."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "train/loss", "val/miou"])
        for step, miou in points:
            writer.writerows([[step, 1.0, ""], [step, "", miou]])


def write_inference(study: Study, runs: Path) -> None:
    """Write the costs of inference of each row."""
    study_folder(runs, study).mkdir(parents=True, exist_ok=True)
    with inference_file(study, runs).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "network", "parameters", "gflops", "seconds", "peak_memory_mb", "device"])
        for dataset in study.dataset_names:
            for index, levels in enumerate(study.grid):
                name = row_name(levels, dataset)
                writer.writerow([name, "Net", 3_300_000, 9.25 + index, 0.125 * (index + 1), 400.5, "abacus"])
