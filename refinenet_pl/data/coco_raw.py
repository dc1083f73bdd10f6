"""Converts COCO's instances to label images of VOC's classes."""

import json
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from rich.progress import track

from refinenet_pl.archive_paths import AnyPath
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.label_files import write_label_image, write_names
from refinenet_pl.data.run_lengths import decode_mask
from refinenet_pl.errors import UserError
from refinenet_pl.files import path_inside

MASKS = "voc_masks"
"""Folder of the label images, below the root."""
MIN_AREA = 1000
"""Images in which the classes cover fewer pixels are left out, as in torchvision's reference training."""

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


def convert_instances(path: AnyPath, masks: Path, folder: str) -> None:
    """Write masks/FOLDER/NAME.png for each image with enough of VOC's classes, and the list masks/FOLDER.txt.

    Pixels of two objects are ignored, and so are regions with a crowd. torchvision's reference training does the
    former, and gives crowds their class. Label images that exist are kept.

    Args:
        path: COCO's instances_*.json.
        masks: Folder for the label images.
        folder: Name of the split's folder.

    Raises:
        UserError: The file is damaged or has other content.
    """
    index_of = {category: index + 1 for index, category in enumerate(CATEGORIES)}
    try:
        content = json.loads(path.read_bytes())
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            if annotation["category_id"] in index_of:
                by_image[annotation["image_id"]].append(annotation)
        names = []
        for image in track(content["images"], description=f"Converting {path.name}"):
            instances = by_image[image["id"]]
            if sum(instance["area"] for instance in instances) <= MIN_AREA:
                continue
            names.append(PurePosixPath(image["file_name"]).stem)
            target = path_inside(masks / folder, f"{names[-1]}.png")
            if not target.exists():
                write_label_image(target, _labels(image, instances, index_of))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read as COCO's instances ({type(error).__name__}: {error}). Get it again."
        ) from error
    write_names(masks / f"{folder}.txt", sorted(names))


def _labels(image: dict[str, Any], instances: list[dict[str, Any]], index_of: dict[int, int]) -> np.ndarray:
    labels = np.zeros((image["height"], image["width"]), np.uint8)
    objects = np.zeros(labels.shape, np.int32)
    for instance in instances:
        mask = decode_mask(instance["segmentation"], *labels.shape)
        labels[mask] = index_of[instance["category_id"]]
        objects[mask] += 2 if instance["iscrowd"] else 1
    labels[objects > 1] = IGNORE_INDEX
    return labels
