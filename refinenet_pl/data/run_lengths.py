"""Masks of COCO's annotation files: polygons, which pycocotools fills, and run lengths."""

from typing import Any

import numpy as np

from refinenet_pl.errors import UserError


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Return the mask of a segmentation from an untrusted file.

    Args:
        segmentation: A list of polygons [x1, y1, x2, y2, ...] in pixels, of which those with fewer than three points
            cover nothing; or {"counts", "size"} with run lengths as numbers or as compressed text.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        bool [H, W].

    Raises:
        UserError: pycocotools is not installed, and there are polygons.
        ValueError: The segmentation has another form, or another size than the image.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, height, width)
    return _from_polygons(segmentation, height, width)


def _from_runs(segmentation: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Decode runs of 0 and 1 in turns, down the columns. pycocotools leaves pixels undefined that no run covers."""
    if segmentation.get("size") != [height, width]:
        raise ValueError(f"found run lengths of size {segmentation.get('size')}; expected [{height}, {width}]")
    counts = segmentation.get("counts")
    runs = _decompressed(counts) if isinstance(counts, str) else np.asarray(counts)
    if runs.ndim != 1 or runs.dtype.kind not in "iu":
        raise ValueError("found run lengths that are no whole numbers; expected a list of them, or compressed text")
    pixels = height * width
    if runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:
        raise ValueError(f"found run lengths of {runs.sum()} pixels; expected {pixels}, as the image has")
    return (np.arange(len(runs)) % 2 == 1).repeat(runs).reshape(width, height).T


def _decompressed(text: str) -> np.ndarray:
    """Return the numbers of COCO's compressed run lengths.

    Each character is 48 plus six bits: five bits of a number, the lowest first, and a bit that is set if the number
    goes on. The highest of a number's bits is its sign. From the fourth number on, each is stored as its difference
    from the last but one.
    """
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("found text that is no compressed run lengths")
    ends = codes & 32 == 0
    starts = np.concatenate([[True], ends[:-1]])
    place = np.arange(len(codes)) - np.flatnonzero(starts)[np.cumsum(starts) - 1]
    if place.max() > 6:
        raise ValueError("found compressed run lengths of more than 32 bits")
    numbers = np.add.reduceat((codes & 31) << 5 * place, np.flatnonzero(starts))
    numbers -= np.where(codes[ends] & 16, 1 << 5 * (place[ends] + 1), 0)
    numbers[1::2], numbers[2::2] = np.cumsum(numbers[1::2]), np.cumsum(numbers[2::2])
    return numbers


def _from_polygons(segmentation: Any, height: int, width: int) -> np.ndarray:
    if not isinstance(segmentation, list) or not all(isinstance(points, list) for points in segmentation):
        raise ValueError("found a segmentation that is neither a list of polygons nor run lengths")
    polygons = [points for points in segmentation if len(points) >= 6]
    if not polygons:
        raise ValueError("found no polygon of three or more points")
    for points in polygons:
        _check_polygon(points, height, width)
    try:
        from pycocotools import mask as coco  # here, because only conversions need it
    except ImportError as error:
        raise UserError("to read COCO's polygons, install pycocotools: pip install 'refinenet-pl[coco]'") from error
    return coco.decode(coco.merge(coco.frPyObjects(polygons, height, width))).astype(bool)


def _check_polygon(points: Any, height: int, width: int) -> None:
    """Refuse what makes pycocotools write outside its memory, or take memory without bound; raises ValueError."""
    try:
        values = np.asarray(points, np.float64)
    except OverflowError as error:
        raise ValueError(f"found a coordinate that is too large ({error})") from error
    if values.ndim != 1 or len(values) % 2:
        raise ValueError("found a polygon that is no list of pairs of numbers")
    if not (np.abs(values) <= 2 * max(height, width)).all():  # also refuses NaN
        raise ValueError(f"found a polygon far outside the image of {height} x {width} pixels")
    if np.abs(np.diff(values.reshape(-1, 2), axis=0)).sum() > 4 * (height + 1) * (width + 1):
        raise ValueError("found a polygon whose outline is longer than the image has pixels")
