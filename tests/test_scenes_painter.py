"""Painted scenes: randomness, labels, and how little color reveals."""

import numpy as np
import pytest

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.scenes_painter import POLE, SCENES, SKY, paint_scene

Scenes = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """Scenes that the color models are fitted to."""
    return [paint_scene(seed=0, index=index) for index in range(60)]


@pytest.fixture(scope="module")
def other_scenes() -> Scenes:
    return [paint_scene(seed=1, index=index) for index in range(30)]


def test_scene_depends_on_seed_and_index(scenes: Scenes) -> None:
    for index in (7, 3):
        image, mask = paint_scene(seed=0, index=index)
        np.testing.assert_array_equal(image, scenes[index][0])
        np.testing.assert_array_equal(mask, scenes[index][1])
    assert not np.array_equal(scenes[0][0], scenes[1][0])
    assert not np.array_equal(scenes[0][0], paint_scene(seed=1, index=0)[0])


@pytest.mark.parametrize("size", [(96, 160), (65, 101)])
def test_image_and_mask_sizes(size: tuple[int, int]) -> None:
    image, mask = paint_scene(seed=0, index=0, size=size)
    assert image.shape == (*size, 3)
    assert mask.shape == size
    assert image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {*range(len(SCENES)), IGNORE_INDEX}


def test_all_classes_are_common(scenes: Scenes) -> None:
    present = np.mean([[index in mask for index in range(len(SCENES))] for _, mask in scenes[:20]], axis=0)
    assert present.min() > 0.6


def test_ignored_borders_are_thin(scenes: Scenes) -> None:
    fractions = [np.mean(mask == IGNORE_INDEX) for _, mask in scenes]
    assert min(fractions) > 0.02
    assert np.mean(fractions) < 0.12


def test_ignored_pixels_separate_classes(scenes: Scenes) -> None:
    mask = scenes[0][1].astype(int)
    for one, neighbor in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        assert not np.any((one != neighbor) & (one != IGNORE_INDEX) & (neighbor != IGNORE_INDEX))


def test_sky_is_high_and_poles_are_thin(scenes: Scenes) -> None:
    widths = []
    for _, mask in scenes:
        assert not np.any(mask[-20:] == SKY)
        edges = np.diff(np.pad(mask == POLE, ((0, 0), (1, 1))).astype(int), axis=1)
        widths += list(np.argwhere(edges == -1)[:, 1] - np.argwhere(edges == 1)[:, 1])
    assert 2 <= np.median(widths) <= 8


def test_color_reveals_little(scenes: Scenes, other_scenes: Scenes) -> None:
    colors, indices = labeled_pixels(scenes)
    unseen, target = labeled_pixels(other_scenes)
    means = np.stack([colors[indices == index].mean(axis=0) for index in range(len(SCENES))])
    # |a - b|^2 without the part that is the same for every class.
    nearest = np.argmin((means**2).sum(axis=1) - 2 * unseen @ means.T, axis=1)
    assert mean_iou(nearest, target) < 0.35

    histogram = np.zeros((len(SCENES), 16**3))
    np.add.at(histogram, (indices, bins(colors)), 1)
    assert mean_iou(histogram.argmax(axis=0)[bins(unseen)], target) < 0.45


def labeled_pixels(scenes: Scenes) -> tuple[np.ndarray, np.ndarray]:
    """Colors float [n, 3] and class indices [n] of all pixels that are not ignored."""
    colors = np.concatenate([image[mask != IGNORE_INDEX] for image, mask in scenes]).astype(float)
    return colors, np.concatenate([mask[mask != IGNORE_INDEX] for _, mask in scenes])


def bins(colors: np.ndarray) -> np.ndarray:
    """Index of the bin, out of 16 x 16 x 16 in RGB, of each color."""
    return (colors.astype(int) // 16) @ np.array([256, 16, 1])


def mean_iou(prediction: np.ndarray, target: np.ndarray) -> float:
    classes = range(len(SCENES))
    intersection = [np.sum((prediction == c) & (target == c)) for c in classes]
    union = [np.sum((prediction == c) | (target == c)) for c in classes]
    return float(np.mean(np.divide(intersection, union)))
