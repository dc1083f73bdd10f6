"""Boundary and trimap IoU against binary masks eroded by scipy, and distances measured by scipy."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers.fake_data import blocks
from scipy.ndimage import binary_erosion, distance_transform_cdt

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.evaluation.boundary import BoundaryIoU, TrimapIoU

CLASSES = 5
SIZES = [(60, 80), (61, 83), (1, 1), (7, 90), (2, 3)]
"""Even and odd, and some with no pixel away from the border."""


def sample(size: tuple[int, int], seed: int, ignore: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a target: blocks, which the prediction shifts and disturbs with speckles."""
    target = blocks(size, [*range(CLASSES), IGNORE_INDEX] if ignore else range(CLASSES), seed, block=11)
    prediction = np.roll(blocks(size, range(CLASSES), seed, block=11), (2, 3), (0, 1))
    rng = np.random.default_rng(seed)
    speckled = rng.random(size) < 0.01
    prediction[speckled] = rng.integers(0, CLASSES, speckled.sum())
    return prediction, target


def score(metric: BoundaryIoU | TrimapIoU, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    for prediction, target in pairs:
        metric.update(torch.from_numpy(prediction), torch.from_numpy(target))
    return metric.compute().numpy()


def boundary_by_erosion(pairs: Sequence[tuple[np.ndarray, np.ndarray]], width: float) -> np.ndarray:
    """Per class: each binary mask minus its erosion by d steps of 3 x 3; outside the image is background."""
    counts = np.zeros((2, CLASSES))
    for prediction, target in pairs:
        prediction = np.where(target == IGNORE_INDEX, IGNORE_INDEX, prediction)
        steps = max(1, round(width * np.sqrt(target.shape[0] ** 2 + target.shape[1] ** 2)))
        for index in range(CLASSES):
            first, second = (
                mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=steps, border_value=0)
                for mask in (prediction == index, target == index)
            )
            counts[:, index] += (first & second).sum(), (first | second).sum()
    with np.errstate(invalid="ignore"):
        return counts[0] / counts[1]


def trimap_by_distance(pairs: Sequence[tuple[np.ndarray, np.ndarray]], width: int) -> np.ndarray:
    """Per class: over pixels whose chessboard distance to another target value is at most `width`."""
    counts = np.zeros((2, CLASSES))
    for prediction, target in pairs:
        near = np.zeros(target.shape, bool)
        for value in np.unique(target):
            if (target == value).all():
                continue  # without another value, scipy returns the distance -1
            near |= (target == value) & (distance_transform_cdt(target == value, "chessboard") <= width)
        near &= target != IGNORE_INDEX
        for index in range(CLASSES):
            first, second = (prediction == index) & near, (target == index) & near
            counts[:, index] += (first & second).sum(), (first | second).sum()
    with np.errstate(invalid="ignore"):
        return counts[0] / counts[1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [0.001, 0.02, 0.0501, 0.3, 2.0])
def test_boundary_iou_equals_erosion(size: tuple[int, int], width: float):
    for seed, ignore in enumerate([False, True]):
        pairs = [sample(size, seed, ignore)]
        found = score(BoundaryIoU(CLASSES, width=width), pairs)
        np.testing.assert_allclose(found, boundary_by_erosion(pairs, width), rtol=1e-14)


@pytest.mark.parametrize("size", SIZES)
def test_trimap_iou_equals_distances(size: tuple[int, int]):
    widths = (1, 2, 3, 7, 16, 200)
    for seed, ignore in enumerate([False, True]):
        pairs = [sample(size, seed, ignore)]
        found = score(TrimapIoU(CLASSES, widths=widths), pairs)
        np.testing.assert_allclose(found, [trimap_by_distance(pairs, width) for width in widths], rtol=1e-14)


def test_counts_are_summed_over_images():
    pairs = [sample(size, seed) for seed, size in enumerate(SIZES)]
    boundary = score(BoundaryIoU(CLASSES), pairs)
    np.testing.assert_allclose(boundary, boundary_by_erosion(pairs, 0.02), rtol=1e-14)
    trimap = score(TrimapIoU(CLASSES, widths=(3,)), pairs)
    np.testing.assert_allclose(trimap[0], trimap_by_distance(pairs, 3), rtol=1e-14)
    averaged = np.nanmean([score(BoundaryIoU(CLASSES), [pair]) for pair in pairs], axis=0)
    assert abs(boundary - averaged).max() > 0.01


def test_batch_equals_single_images():
    pairs = [sample((60, 80), seed) for seed in range(3)]
    stacked = [(np.stack([p for p, _ in pairs]), np.stack([t for _, t in pairs]))]
    for kind in (BoundaryIoU, TrimapIoU):
        np.testing.assert_array_equal(score(kind(CLASSES), pairs), score(kind(CLASSES), stacked))


def test_merge_equals_all_images():
    pairs = [sample((60, 80), seed) for seed in range(4)]
    for kind in (BoundaryIoU, TrimapIoU):
        parts = [kind(CLASSES), kind(CLASSES)]
        for index, (prediction, target) in enumerate(pairs):
            parts[index % 2].update(torch.from_numpy(prediction), torch.from_numpy(target))
        parts[0].merge_state(parts[1])
        np.testing.assert_array_equal(parts[0].compute(), score(kind(CLASSES), pairs))


def test_default_width_rounds_half_to_even():
    # 0.02 x 125 = 2.5 rounds to 2: the target's region is a ring of 2 pixels. The prediction lacks its first row.
    target = np.zeros((75, 100), np.uint8)
    prediction = target.copy()
    prediction[0] = 1
    ring = 75 * 100 - 71 * 96
    # The prediction's ring starts one row lower, so it has a row of 96 pixels that the target's ring lacks.
    assert score(BoundaryIoU(2), [(prediction, target)]).tolist() == [(ring - 100) / (ring + 96), 0]


@pytest.mark.parametrize("seed", range(3))
def test_perfect_prediction_is_exactly_one(seed: int):
    prediction, target = sample((60, 80), seed)
    perfect = np.where(target == IGNORE_INDEX, prediction, target)
    for metric in (BoundaryIoU(CLASSES), TrimapIoU(CLASSES)):
        assert (score(metric, [(perfect, target)]) == 1).all()


def test_ignored_predictions_do_not_count():
    prediction, target = sample((60, 80), seed=0)
    other = np.where(target == IGNORE_INDEX, (prediction + 1) % CLASSES, prediction)
    assert (other != prediction).any()
    for kind in (BoundaryIoU, TrimapIoU):
        np.testing.assert_array_equal(
            score(kind(CLASSES), [(prediction, target)]), score(kind(CLASSES), [(other, target)])
        )


def test_no_ignore_index_counts_all_pixels():
    prediction, target = sample((60, 80), seed=0)
    as_class = np.where(target == IGNORE_INDEX, CLASSES, target).astype(np.uint8)
    for kind in (BoundaryIoU, TrimapIoU):
        found = score(kind(CLASSES + 1, ignore_index=None), [(prediction, as_class)])
        assert (found[..., CLASSES] == 0).all(), "the class is never predicted"


def test_ignored_image_is_undefined():
    ignored = np.full((20, 30), IGNORE_INDEX, np.uint8)
    for metric in (BoundaryIoU(CLASSES), TrimapIoU(CLASSES)):
        assert np.isnan(score(metric, [(np.zeros_like(ignored), ignored)])).all()


def test_one_class_has_boundary_but_no_trimap():
    mask = np.ones((20, 30), np.uint8)
    np.testing.assert_array_equal(score(BoundaryIoU(3), [(mask, mask)]), [np.nan, 1, np.nan])
    assert np.isnan(score(TrimapIoU(3), [(mask, mask)])).all()


def test_shift_costs_boundary_more_than_iou():
    target = np.zeros((100, 100), np.uint8)
    target[20:80, 20:80] = 1
    found = score(BoundaryIoU(2), [(np.roll(target, 1, 1), target)])
    iou = 59 * 60 / (61 * 60)
    assert found[1] < iou - 0.2


def test_inputs_do_not_change():
    pair = sample((60, 80), seed=0, ignore=False)
    copies = [mask.copy() for mask in pair]
    for metric in (BoundaryIoU(CLASSES), BoundaryIoU(CLASSES, ignore_index=None), TrimapIoU(CLASSES)):
        score(metric, [pair])
        np.testing.assert_array_equal(pair, copies)
