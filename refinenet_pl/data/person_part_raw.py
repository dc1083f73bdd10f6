"""Converts the annotations of PASCAL-Part (.mat files) to label images of six body parts."""

from pathlib import Path
from typing import Any

import numpy as np

from refinenet_pl.archive_paths import AnyPath
from refinenet_pl.data.label_files import write_label_image
from refinenet_pl.errors import UserError
from refinenet_pl.files import path_inside
from refinenet_pl.images import UNREADABLE
from refinenet_pl.progress import track

ANNOTATIONS = "Annotations_Part"

# The merge of PASCAL-Part's person parts in public code that follows Chen et al. ("Attention to Scale", CVPR 2016),
# such as HUMAN_PART of github.com/facebookresearch/astmt: hands belong to the lower arms, feet to the lower legs, and
# the neck to the torso. It is not verified against the label images of Chen et al.
PARTS = {
    **dict.fromkeys(("head", "leye", "reye", "lear", "rear", "lebrow", "rebrow", "nose", "mouth", "hair"), 1),
    **dict.fromkeys(("torso", "neck"), 2),
    **dict.fromkeys(("luarm", "ruarm"), 3),
    **dict.fromkeys(("llarm", "rlarm", "lhand", "rhand"), 4),
    **dict.fromkeys(("luleg", "ruleg"), 5),
    **dict.fromkeys(("llleg", "rlleg", "lfoot", "rfoot"), 6),
}
"""The class index of each part of a person."""


def convert_annotations(annotations: AnyPath, names: list[str], masks: Path, all_listed: bool = True) -> list[str]:
    """Write masks/NAME.png for each name, unless it exists.

    Args:
        annotations: Folder of NAME.mat.
        names: The images.
        masks: Folder of the label images.
        all_listed: Write a label image for each name. False: only where some part of a person is labeled.

    Returns:
        The names that have a label image now, in their order.

    Raises:
        UserError: A name leads outside the folder, or an annotation is missing, damaged, or has other content.
    """
    converted = []
    with track(names, f"Converting {ANNOTATIONS}") as tracked:
        for name in tracked:
            target = path_inside(masks, f"{name}.png")
            if not target.exists():
                labels = read_parts(annotations / f"{name}.mat")
                if not all_listed and not labels.any():
                    continue
                write_label_image(target, labels)
            converted.append(name)
    return converted


def read_parts(path: AnyPath) -> np.ndarray:
    """Return the class index of each pixel of an annotation, uint8 [H, W]; 0 where there is no part of a person.

    Raises:
        UserError: The file is missing, damaged, or has other content.
    """
    from scipy.io import loadmat  # here, because only this needs it and it is slow to import
    from scipy.io.matlab import MatReadError

    try:
        with path.open("rb") as file:
            objects = loadmat(file, variable_names=["anno"])["anno"][0, 0]["objects"].ravel()
        height, width = objects[0]["mask"].shape
        labels = np.zeros((height, width), np.uint8)
        for person in (each for each in objects if _text(each["class"]) == "person"):
            for part in person["parts"].ravel():
                index = PARTS.get(_text(part["part_name"]))
                if index is None:
                    raise ValueError(f"found the part {_text(part['part_name'])!r} of a person")
                labels[part["mask"].astype(bool)] = index
        return labels
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; expected PASCAL-Part's annotation of this image") from error
    except (*UNREADABLE, MatReadError) as error:
        raise UserError(
            f"{path}: cannot be read as an annotation of PASCAL-Part ({type(error).__name__}: {error}). Get it again."
        ) from error


def _text(value: Any) -> str:
    return str(value[0]) if len(value) else ""
