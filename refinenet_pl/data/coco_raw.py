"""Converts COCO's instances to label images of VOC's classes."""

import json
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from refinenet_pl.archive_paths import AnyPath
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.label_files import write_label_image, write_names
from refinenet_pl.data.run_lengths import decode_mask
from refinenet_pl.errors import UserError
from refinenet_pl.files import path_inside
from refinenet_pl.images import MAX_PIXELS
from refinenet_pl.progress import track

MASKS = "voc_masks"
"""Folder of the label images, below the root."""

MAX_BYTES = 2**30
"""Largest annotation file that is read. That of train2017 has about half of it."""

CATEGORIES = {
    5: "aeroplane",
    2: "bicycle",
    16: "bird",
    9: "boat",
    44: "bottle",
    6: "bus",
    3: "car",
    17: "cat",
    62: "chair",
    21: "cow",
    67: "diningtable",
    18: "dog",
    19: "horse",
    4: "motorbike",
    1: "person",
    64: "pottedplant",
    20: "sheep",
    63: "sofa",
    7: "train",
    72: "tvmonitor",
}
"""COCO's category of each class of VOC, in VOC's order, as torchvision's reference training maps them."""

INDEX_OF = {category: index + 1 for index, category in enumerate(CATEGORIES)}
"""The class index of each of these categories. Other categories are background, 0."""


def convert_instances(path: AnyPath, masks: Path, folder: str) -> None:
    """Write masks/FOLDER/NAME.png for each image, then the list masks/FOLDER.txt.

    A pixel of several objects is ignored, whatever their classes, as in torchvision's reference training
    (references/segmentation/coco_utils.py). Crowds are ignored too; there, they keep their class. Label images that
    exist are kept.

    Args:
        path: COCO's instances_*.json.
        masks: Folder for the label images.
        folder: Name of the split's folder.

    Raises:
        UserError: The file is too large, is damaged or has other content, or pycocotools is not installed.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise UserError(f"{path}: has {size:,} bytes; expected COCO's instances, of at most {MAX_BYTES:,} bytes")
    try:
        content = json.loads(path.read_bytes())
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            if annotation["category_id"] in INDEX_OF:
                by_image[annotation["image_id"]].append(annotation)
        areas = {}
        with track(content["images"], f"Converting {path.name}") as images:
            for image in images:
                instances, name = by_image[image["id"]], PurePosixPath(image["file_name"]).stem
                areas[name] = sum(float(instance["area"]) for instance in instances)
                target = path_inside(masks / folder, f"{name}.png")
                if not target.exists():
                    write_label_image(target, _labels(image, instances))
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read as COCO's instances ({type(error).__name__}: {error}). Get it again."
        ) from error
    write_names(masks / f"{folder}.txt", [f"{name} {areas[name]}" for name in sorted(areas)])


def _labels(image: dict[str, Any], instances: list[dict[str, Any]]) -> np.ndarray:
    height, width = image["height"], image["width"]
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"found an image of {height} x {width} pixels; expected at most {MAX_PIXELS:,} in total")
    labels = np.zeros((height, width), np.uint8)
    objects = np.zeros(labels.shape, np.int32)
    for instance in instances:
        mask = decode_mask(instance["segmentation"], height, width)
        labels[mask] = INDEX_OF[instance["category_id"]]
        objects[mask] += 2 if instance["iscrowd"] else 1
    labels[objects > 1] = IGNORE_INDEX
    return labels


def read_areas(path: Path) -> dict[str, float]:
    """Read a list that `convert_instances` wrote.

    Returns:
        By the name of each image: the sum of the areas of its objects of VOC's classes, in pixels, with crowds, as the
        annotation file states them.

    Raises:
        UserError: The list has another form.
    """
    try:
        lines = [line.rsplit(" ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
        return {name: float(area) for name, area in lines}
    except ValueError as error:
        raise UserError(
            f"{path}: expected the name of an image and the area of its objects in each line ({error}). Delete it, and "
            "run refinenet data prepare again."
        ) from error
