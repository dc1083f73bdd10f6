"""Boundary IoU against masks eroded by scipy, trimap IoU against scipy's distances."""

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
"""Even and odd sizes, and some that consist of border only."""


def sample(size: tuple[int, int], seed: int, ignored: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Make a prediction and a target of blocks; the prediction is shifted and has noise."""
    target = blocks(size, [*range(CLASSES), IGNORE_INDEX] if ignored else range(CLASSES), seed, block=11)
    prediction = np.roll(blocks(size, range(CLASSES), seed, block=11), (2, 3), (0, 1))
    rng = np.random.default_rng(seed)
    noisy = rng.random(size) < 0.01
    prediction[noisy] = rng.integers(0, CLASSES, noisy.sum())
    return prediction, target


def compute(metric: BoundaryIoU | TrimapIoU, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    for prediction, target in pairs:
        metric.update(torch.from_numpy(prediction), torch.from_numpy(target))
    return metric.compute().numpy()


def boundary_by_erosion(pairs: Sequence[tuple[np.ndarray, np.ndarray]], width: float) -> np.ndarray:
    """Compute each class's IoU of masks minus their erosion by d steps of 3 x 3; outside the image is background."""
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
    """Compute each class's IoU over the pixels within chessboard distance `width` of another target value."""
    counts = np.zeros((2, CLASSES))
    for prediction, target in pairs:
        near = np.zeros(target.shape, bool)
        for value in np.unique(target):
            if (target == value).all():
                continue  # scipy gives a distance of -1 without background
            near |= (target == value) & (distance_transform_cdt(target == value, "chessboard") <= width)
        near &= target != IGNORE_INDEX
        for index in range(CLASSES):
            first, second = (prediction == index) & near, (target == index) & near
            counts[:, index] += (first & second).sum(), (first | second).sum()
    with np.errstate(invalid="ignore"):
        return counts[0] / counts[1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [0.001, 0.02, 0.0501, 0.3, 2.0])
def test_boundary_iou_matches_erosion(size: tuple[int, int], width: float):
    for seed, ignored in enumerate([False, True]):
        pairs = [sample(size, seed, ignored)]
        found = compute(BoundaryIoU(CLASSES, width=width), pairs)
        np.testing.assert_allclose(found, boundary_by_erosion(pairs, width), rtol=1e-14)


@pytest.mark.parametrize("size", SIZES)
def test_trimap_iou_matches_distance(size: tuple[int, int]):
    widths = (1, 2, 3, 7, 16, 200)
    for seed, ignored in enumerate([False, True]):
        pairs = [sample(size, seed, ignored)]
        found = compute(TrimapIoU(CLASSES, widths=widths), pairs)
        np.testing.assert_allclose(found, [trimap_by_distance(pairs, width) for width in widths], rtol=1e-14)


def test_counts_are_summed_over_images():
    pairs = [sample(size, seed) for seed, size in enumerate(SIZES)]
    boundary = compute(BoundaryIoU(CLASSES), pairs)
    np.testing.assert_allclose(boundary, boundary_by_erosion(pairs, 0.02), rtol=1e-14)
    trimap = compute(TrimapIoU(CLASSES, widths=(3,)), pairs)
    np.testing.assert_allclose(trimap[0], trimap_by_distance(pairs, 3), rtol=1e-14)
    averaged = np.nanmean([compute(BoundaryIoU(CLASSES), [pair]) for pair in pairs], axis=0)
    assert abs(boundary - averaged).max() > 0.01


def test_batch_equals_single_images():
    pairs = [sample((60, 80), seed) for seed in range(3)]
    stacked = [(np.stack([p for p, _ in pairs]), np.stack([t for _, t in pairs]))]
    for make in (BoundaryIoU, TrimapIoU):
        np.testing.assert_array_equal(compute(make(CLASSES), pairs), compute(make(CLASSES), stacked))


def test_metrics_merge():
    pairs = [sample((60, 80), seed) for seed in range(4)]
    for make in (BoundaryIoU, TrimapIoU):
        parts = [make(CLASSES), make(CLASSES)]
        for index, (prediction, target) in enumerate(pairs):
            parts[index % 2].update(torch.from_numpy(prediction), torch.from_numpy(target))
        parts[0].merge_state(parts[1])
        np.testing.assert_array_equal(parts[0].compute(), compute(make(CLASSES), pairs))


def test_width_rounds_half_to_even():
    # 0.02 x 125 = 2.5, so the boundary region of class 0 in the target is a ring of 2 pixels.
    target = np.zeros((75, 100), np.uint8)
    prediction = target.copy()
    prediction[0] = 1
    ring = 75 * 100 - 71 * 96
    # The prediction's ring starts one row lower: it lacks 100 pixels of the target's ring and has 96 others.
    assert compute(BoundaryIoU(2), [(prediction, target)]).tolist() == [(ring - 100) / (ring + 96), 0]


@pytest.mark.parametrize("seed", range(3))
def test_perfect_prediction_gives_one(seed: int):
    prediction, target = sample((60, 80), seed)
    perfect = np.where(target == IGNORE_INDEX, prediction, target)
    for metric in (BoundaryIoU(CLASSES), TrimapIoU(CLASSES)):
        assert (compute(metric, [(perfect, target)]) == 1).all()


def test_ignored_pixels_do_not_count():
    prediction, target = sample((60, 80), seed=0)
    other = np.where(target == IGNORE_INDEX, (prediction + 1) % CLASSES, prediction)
    assert (other != prediction).any()
    for make in (BoundaryIoU, TrimapIoU):
        np.testing.assert_array_equal(
            compute(make(CLASSES), [(prediction, target)]), compute(make(CLASSES), [(other, target)])
        )


def test_ignore_index_can_be_none():
    prediction, target = sample((60, 80), seed=0)
    as_class = np.where(target == IGNORE_INDEX, CLASSES, target).astype(np.uint8)
    for make in (BoundaryIoU, TrimapIoU):
        found = compute(make(CLASSES + 1, ignore_index=None), [(prediction, as_class)])
        assert (found[..., CLASSES] == 0).all(), "never predicted"


def test_all_ignored_is_undefined():
    ignored = np.full((20, 30), IGNORE_INDEX, np.uint8)
    for metric in (BoundaryIoU(CLASSES), TrimapIoU(CLASSES)):
        assert np.isnan(compute(metric, [(np.zeros_like(ignored), ignored)])).all()


def test_one_class_has_boundary_but_no_trimap():
    whole = np.ones((20, 30), np.uint8)
    np.testing.assert_array_equal(compute(BoundaryIoU(3), [(whole, whole)]), [np.nan, 1, np.nan])
    assert np.isnan(compute(TrimapIoU(3), [(whole, whole)])).all()


def test_shift_costs_boundary_more():
    target = np.zeros((100, 100), np.uint8)
    target[20:80, 20:80] = 1
    found = compute(BoundaryIoU(2), [(np.roll(target, 1, 1), target)])
    iou = 59 * 60 / (61 * 60)
    assert found[1] < iou - 0.2


def test_inputs_are_not_modified():
    pair = sample((60, 80), seed=0, ignored=False)
    before = [mask.copy() for mask in pair]
    for metric in (BoundaryIoU(CLASSES), BoundaryIoU(CLASSES, ignore_index=None), TrimapIoU(CLASSES)):
        compute(metric, [pair])
        np.testing.assert_array_equal(pair, before)
