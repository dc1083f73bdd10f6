"""Masks of COCO's annotation files: polygons and run lengths, decoded by pycocotools."""

from typing import Any

import numpy as np

from refinenet_pl.errors import UserError


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Return the mask of a segmentation.

    Args:
        segmentation: A list of polygons [x1, y1, x2, y2, ...], or {"counts", "size"} with run lengths as numbers or as
            compressed text.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        bool [H, W].

    Raises:
        UserError: pycocotools is not installed.
        ValueError: The segmentation has another form, or another size than the image.
    """
    try:
        from pycocotools import mask as coco  # here, because only conversions need it
    except ImportError as error:
        raise UserError("to read COCO's masks, install pycocotools: pip install 'refinenet-pl[coco]'") from error
    if isinstance(segmentation, dict):
        if list(segmentation.get("size", ())) != [height, width]:
            raise ValueError(f"found run lengths of size {segmentation.get('size')}; expected [{height}, {width}]")
        counts = segmentation["counts"]
        runs = coco.frPyObjects(segmentation, height, width) if isinstance(counts, list) else segmentation
        return coco.decode(runs).astype(bool)
    if not segmentation or not all(len(polygon) >= 6 for polygon in segmentation):
        raise ValueError("found a polygon of fewer than three points")
    return coco.decode(coco.merge(coco.frPyObjects(segmentation, height, width))).astype(bool)
