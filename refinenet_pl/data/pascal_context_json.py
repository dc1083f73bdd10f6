"""Converts PASCAL in Detail's trainval_merged.json to label images and lists of PASCAL-Context."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from refinenet_pl.archive_paths import AnyPath
from refinenet_pl.data.label_files import write_label_image, write_names
from refinenet_pl.data.run_lengths import decode_mask
from refinenet_pl.errors import UserError
from refinenet_pl.files import path_inside
from refinenet_pl.images import MAX_PIXELS
from refinenet_pl.progress import track

JSON_FILE = "trainval_merged.json"


def convert_json(path: AnyPath, masks: Path, lists: Path, values: Mapping[int, int]) -> None:
    """Write a label image for each image, unless it exists, and the lists train.txt and val.txt.

    Args:
        path: The JSON: "images" with "image_id", "file_name", "phase", "height" and "width"; "annos_segmentation" with
            "image_id", "category_id" and "segmentation" (run lengths).
        masks: Folder of the label images.
        lists: Folder of the lists.
        values: The value to write for each category. Other categories are background, 0.

    Raises:
        UserError: The file is damaged or has other content.
    """
    try:
        content = json.loads(path.read_bytes())
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annos_segmentation"]:
            by_image[annotation["image_id"]].append(annotation)
        names: dict[str, list[str]] = {"train": [], "val": []}
        with track(content["images"], f"Converting {path.name}") as images:
            for image in images:
                name = PurePosixPath(image["file_name"]).stem
                if image["phase"] not in names:
                    continue
                names[image["phase"]].append(name)
                target = path_inside(masks, f"{name}.png")
                if not target.exists():
                    write_label_image(target, _labels(image, by_image[image["image_id"]], values))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read as PASCAL in Detail's annotations ({type(error).__name__}: {error}). Get it again."
        ) from error
    for split, listed in names.items():
        write_names(lists / f"{split}.txt", sorted(listed))


def _labels(image: dict[str, Any], annotations: list[dict[str, Any]], values: Mapping[int, int]) -> np.ndarray:
    if not 1 <= image["height"] * image["width"] <= MAX_PIXELS:
        raise ValueError(f"found an image of {image['height']} x {image['width']} pixels")
    labels = np.zeros((image["height"], image["width"]), np.uint8)
    for annotation in annotations:
        value = values.get(annotation["category_id"], 0)
        labels[decode_mask(annotation["segmentation"], *labels.shape)] = value
    return labels
