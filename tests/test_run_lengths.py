"""Masks of COCO's annotation files."""

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from pycocotools import mask as coco

from refinenet_pl.data.run_lengths import decode_mask

SQUARE = [2, 3, 6, 3, 6, 8, 2, 8]


def test_numbers_run_down_the_columns():
    expected = [[0, 1, 1], [0, 1, 0]]
    assert decode_mask({"counts": [2, 3, 1], "size": [2, 3]}, 2, 3).tolist() == np.array(expected, bool).tolist()
    assert decode_mask({"counts": [0, 6], "size": [2, 3]}, 2, 3).all()


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("231", [2, 3, 1]),
        ("P1", [32]),  # bits 00000 and more, then 00001
        ("o0", [31]),  # 31 needs a sixth bit, because the fifth would be its sign
        ("1111", [1, 1, 1, 2]),  # the fourth is 1 more than the second
        ("151N", [1, 5, 1, 3]),  # and here 2 less: N is 11110
    ],
)
def test_compressed_text_by_hand(text, runs):
    size = [1, sum(runs)]
    mask = decode_mask({"counts": text, "size": size}, *size)
    assert np.array_equal(mask, decode_mask({"counts": runs, "size": size}, *size))


@pytest.mark.parametrize("seed", range(20))
def test_compressed_text_equals_pycocotools(seed):
    generator = np.random.default_rng(seed)
    mask = generator.random((generator.integers(1, 300), generator.integers(1, 300))) < generator.random() ** 4
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    segmentation = {"counts": encoded["counts"].decode(), "size": list(mask.shape)}
    assert np.array_equal(decode_mask(segmentation, *mask.shape), mask)


def test_square_covers_its_pixels():
    expected = np.zeros((10, 9), bool)
    expected[3:8, 2:6] = True
    assert np.array_equal(decode_mask([SQUARE], 10, 9), expected)


def test_polygons_are_joined():
    corner = [0, 0, 2, 0, 2, 2, 0, 2]
    joined = decode_mask([SQUARE, corner], 10, 9)
    assert np.array_equal(joined, decode_mask([SQUARE], 10, 9) | decode_mask([corner], 10, 9))
    assert np.array_equal(decode_mask([SQUARE, [1, 1, 5, 5]], 10, 9), decode_mask([SQUARE], 10, 9))  # a line


def test_polygon_covers_the_pixels_inside():
    points = [5.5, 3.2, 70.1, 20.8, 60.3, 55.9, 30.7, 40.2, 8.4, 52.6]
    centers = np.stack(np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5), -1).reshape(-1, 2)
    outline = Outline(np.reshape(points, (-1, 2)))
    inside, near = (outline.contains_points(centers, radius=radius).reshape(60, 80) for radius in (-1, 1))
    inside, near = inside & near, inside | near  # the sign of radius depends on the direction of the outline
    mask = decode_mask([points], 60, 80)
    assert inside.sum() > 1500
    assert not (inside & ~mask).any()
    assert not (mask & ~near).any()


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        [5],
        [[1, 2, 3, 4]],
        [[1, 1, 5, 1, 5, 5, 7]],
        [[[1, 1], [5, 1], [5, 5]] * 2],
        [["a"] * 6],
        [[float("nan")] * 6],
        [[0, 0, 1e9, 0, 1e9, 1e9]],  # pycocotools ends the process
        [[0, 0, 10**400, 0, 5, 5]],
        [[0, 0, 20, 20] * 1000],
        {"counts": [5], "size": [10, 9]},  # pycocotools leaves the rest of the pixels undefined
        {"counts": [85, 6], "size": [10, 9]},
        {"counts": [-5, 95], "size": [10, 9]},
        {"counts": [2**63, 2**63, 90], "size": [10, 9]},  # 90 in 64 bits
        {"counts": [2**70], "size": [10, 9]},
        {"counts": [90.0], "size": [10, 9]},
        {"counts": [], "size": [10, 9]},
        {"counts": [90], "size": [9, 10]},
        {"counts": [90]},
        {"size": [10, 9]},
        {"counts": "", "size": [10, 9]},
        {"counts": "P", "size": [10, 9]},
        {"counts": "P" * 7 + "1", "size": [10, 9]},
        {"counts": "é", "size": [10, 9]},
        {"counts": "!!", "size": [10, 9]},
        {"counts": "zzz", "size": [10, 9]},
    ],
)
def test_wrong_segmentations_are_refused(segmentation):
    with pytest.raises(ValueError, match=r"found|codec|convert|inhomogeneous"):
        decode_mask(segmentation, 10, 9)
