import numpy as np
import pytest

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.scenes_painter import POLE, SCENES, SKY, paint_scene

Scenes = list[tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """Scenes to learn from."""
    return [paint_scene(seed=0, index=index) for index in range(60)]


@pytest.fixture(scope="module")
def other_scenes() -> Scenes:
    return [paint_scene(seed=1, index=index) for index in range(30)]


def test_a_scene_depends_on_seed_and_index_and_not_on_what_was_painted_before(scenes: Scenes) -> None:
    for index in (7, 3):
        picture, labels = paint_scene(seed=0, index=index)
        np.testing.assert_array_equal(picture, scenes[index][0])
        np.testing.assert_array_equal(labels, scenes[index][1])
    assert not np.array_equal(scenes[0][0], scenes[1][0])
    assert not np.array_equal(scenes[0][0], paint_scene(seed=1, index=0)[0])


@pytest.mark.parametrize("size", [(96, 160), (65, 101)])
def test_picture_and_labels_have_the_size_asked_for(size: tuple[int, int]) -> None:
    picture, labels = paint_scene(seed=0, index=0, size=size)
    assert picture.shape == (*size, 3)
    assert labels.shape == size
    assert picture.dtype == labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {*range(len(SCENES)), IGNORE_INDEX}


def test_every_class_is_in_most_of_twenty_pictures(scenes: Scenes) -> None:
    present = np.mean([[train_id in labels for train_id in range(len(SCENES))] for _, labels in scenes[:20]], axis=0)
    assert present.min() > 0.6


def test_void_borders_are_thin(scenes: Scenes) -> None:
    shares = [np.mean(labels == IGNORE_INDEX) for _, labels in scenes]
    assert min(shares) > 0.02
    assert np.mean(shares) < 0.12


def test_classes_touch_only_across_void(scenes: Scenes) -> None:
    labels = scenes[0][1].astype(int)
    for one, next_to_it in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        assert not np.any((one != next_to_it) & (one != IGNORE_INDEX) & (next_to_it != IGNORE_INDEX))


def test_sky_is_above_and_poles_are_thin_but_survive_the_borders(scenes: Scenes) -> None:
    runs = []
    for _, labels in scenes:
        assert not np.any(labels[-20:] == SKY)
        edges = np.diff(np.pad(labels == POLE, ((0, 0), (1, 1))).astype(int), axis=1)
        runs += list(np.argwhere(edges == -1)[:, 1] - np.argwhere(edges == 1)[:, 1])
    assert 2 <= np.median(runs) <= 8


def test_colors_alone_tell_little(scenes: Scenes, other_scenes: Scenes) -> None:
    colors, train_ids = labeled_pixels(scenes)
    unseen, truth = labeled_pixels(other_scenes)
    means = np.stack([colors[train_ids == train_id].mean(axis=0) for train_id in range(len(SCENES))])
    # |a - b|^2 without the part that is the same for every class.
    nearest = np.argmin((means**2).sum(axis=1) - 2 * unseen @ means.T, axis=1)
    assert mean_iou(nearest, truth) < 0.35

    histogram = np.zeros((len(SCENES), 16**3))
    np.add.at(histogram, (train_ids, bins(colors)), 1)
    assert mean_iou(histogram.argmax(axis=0)[bins(unseen)], truth) < 0.45


def labeled_pixels(scenes: Scenes) -> tuple[np.ndarray, np.ndarray]:
    """Colors float [n, 3] and train ids [n] of all pixels that are not void."""
    colors = np.concatenate([picture[labels != IGNORE_INDEX] for picture, labels in scenes]).astype(float)
    return colors, np.concatenate([labels[labels != IGNORE_INDEX] for _, labels in scenes])


def bins(colors: np.ndarray) -> np.ndarray:
    """Which of 16 x 16 x 16 cells of RGB each color falls into."""
    return (colors.astype(int) // 16) @ np.array([256, 16, 1])


def mean_iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    classes = range(len(SCENES))
    both = [np.sum((prediction == c) & (truth == c)) for c in classes]
    either = [np.sum((prediction == c) | (truth == c)) for c in classes]
    return float(np.mean(np.divide(both, either)))
