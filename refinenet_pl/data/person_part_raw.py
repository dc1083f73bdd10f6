"""Converts the annotations of PASCAL-Part (.mat files) to label images of six body parts."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from refinenet_pl.archive_paths import AnyPath
from refinenet_pl.data.label_files import write_label_image
from refinenet_pl.errors import UserError

ANNOTATIONS = "Annotations_Part"

# The merge of PASCAL-Part's person parts that public code for Person-Part uses (Chen et al., "Attention to Scale",
# CVPR 2016): hands belong to the lower arms, feet to the lower legs, and the neck to the torso.
PARTS = {
    **dict.fromkeys(("head", "leye", "reye", "lear", "rear", "lebrow", "rebrow", "nose", "mouth", "hair"), 1),
    **dict.fromkeys(("torso", "neck"), 2),
    **dict.fromkeys(("luarm", "ruarm"), 3),
    **dict.fromkeys(("llarm", "rlarm", "lhand", "rhand"), 4),
    **dict.fromkeys(("luleg", "ruleg"), 5),
    **dict.fromkeys(("llleg", "rlleg", "lfoot", "rfoot"), 6),
}
"""The class index of each part of a person."""


def convert_annotations(annotations: AnyPath, names: list[str], masks: Path) -> None:
    """Write masks/NAME.png for each name, unless it exists.

    Args:
        annotations: Folder of NAME.mat.
        names: The images.
        masks: Folder of the label images.

    Raises:
        UserError: An annotation is missing, damaged, or has other content.
    """
    for name in track(names, description=f"Converting {ANNOTATIONS}"):
        target = masks / f"{name}.png"
        if not target.exists():
            write_label_image(target, read_parts(annotations / f"{name}.mat"))


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
        labels = np.zeros(objects[0]["mask"].shape, np.uint8)
        for person in (each for each in objects if _text(each["class"]) == "person"):
            for part in person["parts"].ravel():
                index = PARTS.get(_text(part["part_name"]))
                if index is None:
                    raise ValueError(f"found the part {_text(part['part_name'])!r} of a person")
                labels[part["mask"].astype(bool)] = index
        return labels
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; expected PASCAL-Part's annotation of this image") from error
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, MatReadError) as error:
        raise UserError(
            f"{path}: cannot be read as an annotation of PASCAL-Part ({type(error).__name__}: {error}). Get it again."
        ) from error


def _text(value: Any) -> str:
    return str(value[0]) if len(value) else ""
