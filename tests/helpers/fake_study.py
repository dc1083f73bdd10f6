"""A study's folder as finished runs leave it, made in a moment: figures from a seeded generator, no network."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml

from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import summarize, summarize_intervals
from refinenet_pl.files import write_json
from refinenet_pl.studies.folders import cell_folder
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.study import Cell, Study, row_name

CLASSES = ("road", "car", "traffic light")
VERSIONS = {"torch": "2.6", "device": "abacus"}


def write_study(folder: Path, levels: Sequence[str] = ("none", "original", "improved"), **keys: object) -> Path:
    """A study's yaml with one factor, `pooling`, and what else is given by key."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.yaml").write_text(yaml.safe_dump({"model": {"network": {"class_path": "Net"}}, "data": {}}))
    study = {
        "base": "base.yaml",
        "factors": {"pooling": {level: {"model.network.init_args.pooling": level} for level in levels}},
        "seeds": [0, 1],
        "image_size": [360, 480],
    }
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
    """Make all cells but the unfinished ones, named as cells are; a row's share of right pixels is its quality."""
    study = load_study(path)
    for cell in study.cells:
        if cell.name not in unfinished:
            place = study.grid.index(cell.levels)
            training = next(group[0] for group in study.cell_groups if cell in group)
            finish_cell(study, cell, runs, draw(quality[place], place, cell.seed, class_names, images), training)
    write_inference(study, runs)
    return study


def draw(quality: float, row: int, seed: int, class_names: Sequence[str], images: int) -> ImageMatrices:
    """Each image has 1000 true pixels of each class but the last, of which the wrong ones go to the next class."""
    random, count = np.random.default_rng([row, seed]), len(class_names)
    drawn = ImageMatrices(class_names)
    for index in range(images):
        matrix = np.zeros((count, count), np.int64)
        for label in range(count - 1):
            right = int(1000 * np.clip(quality - 0.1 * (label % 4) + random.normal(0, 0.1), 0, 1))
            matrix[label, label] = right
            matrix[label, (label + 1) % (count - 1)] += 1000 - right
        drawn.add(f"image_{index:03}", matrix)
    return drawn


def finish_cell(study: Study, cell: Cell, runs: Path, images: ImageMatrices, training: Cell) -> None:
    """One run folder with everything but a checkpoint; of a cell that is only evaluated, without its training."""
    suffix = "" if cell is training else "-validate"
    folder = cell_folder(runs, study, cell).path / f"20260101-000000-abcd{suffix}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(cell.config))
    images.save(folder / "per_image.npz")
    results = {
        **summarize(torch.from_numpy(images.total()), images.class_names),
        "intervals": summarize_intervals(images),
        "versions": VERSIONS,
    }
    write_json(folder / "results.json", results)
    if cell is training:
        write_training(folder, results["miou"], cell.seed)


def write_training(folder: Path, miou: float, seed: int) -> None:
    """The metrics of a training that was stopped after its second validation, and its costs."""
    points = [(99, 0.5 * miou), (199, 0.8 * miou), (299, 0.95 * miou), (399, miou)]
    write_metrics(folder / "metrics.part1.csv", points[:2])
    write_metrics(folder / "metrics.csv", [*points[1:], (400, miou)])  # the last is the best checkpoint's evaluation
    costs = {"parameters": 3_300_000, "steps": 400, "seconds": 3600.0 + 600 * seed, "peak_memory_mb": 1500.0 + seed}
    (folder / "costs.json").write_text(json.dumps(costs))


def write_metrics(path: Path, points: Sequence[tuple[int, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "train/loss", "val/miou"])
        for step, miou in points:
            writer.writerows([[step, 1.0, ""], [step, "", miou]])


def write_inference(study: Study, runs: Path) -> None:
    """What the benchmark measured of each row."""
    with (runs / study.name / "inference.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "network", "parameters", "gflops", "seconds", "peak_memory_mb", "device"])
        for index, levels in enumerate(study.grid):
            name = row_name(levels)
            writer.writerow([name, "Net", 3_300_000, 9.25 + index, 0.125 * (index + 1), 400.5, "abacus"])
