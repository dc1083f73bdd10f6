"""Boundary and trimap IoU against a mask for each class, eroded by scipy, and distances that scipy measures."""

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
"""Even and odd, and some that lie within their own border."""


def sample(size: tuple[int, int], seed: int, void: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true labels: blocks, moved and speckled in the prediction."""
    truth = blocks(size, [*range(CLASSES), IGNORE_INDEX] if void else range(CLASSES), seed, block=11)
    predicted = np.roll(blocks(size, range(CLASSES), seed, block=11), (2, 3), (0, 1))
    random = np.random.default_rng(seed)
    speckled = random.random(size) < 0.01
    predicted[speckled] = random.integers(0, CLASSES, speckled.sum())
    return predicted, truth


def score(metric: BoundaryIoU | TrimapIoU, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    for predicted, truth in pairs:
        metric.update(torch.from_numpy(predicted), torch.from_numpy(truth))
    return metric.compute().numpy()


def boundary_by_erosion(pairs: Sequence[tuple[np.ndarray, np.ndarray]], width: float) -> np.ndarray:
    """Per class: each mask less its erosion by d steps of 3 x 3, with nothing beyond the image."""
    counts = np.zeros((2, CLASSES))
    for predicted, truth in pairs:
        predicted = np.where(truth == IGNORE_INDEX, IGNORE_INDEX, predicted)
        steps = max(1, round(width * np.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2)))
        for label in range(CLASSES):
            first, second = (
                mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=steps, border_value=0)
                for mask in (predicted == label, truth == label)
            )
            counts[:, label] += (first & second).sum(), (first | second).sum()
    with np.errstate(invalid="ignore"):
        return counts[0] / counts[1]


def trimap_by_distance(pairs: Sequence[tuple[np.ndarray, np.ndarray]], width: int) -> np.ndarray:
    """Per class: over the pixels whose chessboard distance to another true label is at most `width`."""
    counts = np.zeros((2, CLASSES))
    for predicted, truth in pairs:
        near = np.zeros(truth.shape, bool)
        for label in np.unique(truth):
            if (truth == label).all():
                continue  # scipy measures the distance to nothing as -1
            near |= (truth == label) & (distance_transform_cdt(truth == label, "chessboard") <= width)
        near &= truth != IGNORE_INDEX
        for label in range(CLASSES):
            first, second = (predicted == label) & near, (truth == label) & near
            counts[:, label] += (first & second).sum(), (first | second).sum()
    with np.errstate(invalid="ignore"):
        return counts[0] / counts[1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [0.001, 0.02, 0.0501, 0.3, 2.0])
def test_boundary_iou_equals_that_of_eroded_masks(size: tuple[int, int], width: float):
    for seed, void in enumerate([False, True]):
        pairs = [sample(size, seed, void)]
        found = score(BoundaryIoU(CLASSES, width=width), pairs)
        np.testing.assert_allclose(found, boundary_by_erosion(pairs, width), rtol=1e-14)


@pytest.mark.parametrize("size", SIZES)
def test_trimap_iou_equals_that_within_a_measured_distance(size: tuple[int, int]):
    widths = (1, 2, 3, 7, 16, 200)
    for seed, void in enumerate([False, True]):
        pairs = [sample(size, seed, void)]
        found = score(TrimapIoU(CLASSES, widths=widths), pairs)
        np.testing.assert_allclose(found, [trimap_by_distance(pairs, width) for width in widths], rtol=1e-14)


def test_images_of_several_sizes_are_summed_before_they_are_divided():
    pairs = [sample(size, seed) for seed, size in enumerate(SIZES)]
    boundary = score(BoundaryIoU(CLASSES), pairs)
    np.testing.assert_allclose(boundary, boundary_by_erosion(pairs, 0.02), rtol=1e-14)
    trimap = score(TrimapIoU(CLASSES, widths=(3,)), pairs)
    np.testing.assert_allclose(trimap[0], trimap_by_distance(pairs, 3), rtol=1e-14)
    averaged = np.nanmean([score(BoundaryIoU(CLASSES), [pair]) for pair in pairs], axis=0)
    assert abs(boundary - averaged).max() > 0.01


def test_images_of_one_size_can_be_counted_at_once():
    pairs = [sample((60, 80), seed) for seed in range(3)]
    stacked = [(np.stack([p for p, _ in pairs]), np.stack([t for _, t in pairs]))]
    for make in (BoundaryIoU, TrimapIoU):
        np.testing.assert_array_equal(score(make(CLASSES), pairs), score(make(CLASSES), stacked))


def test_two_metrics_merge_to_that_of_all_images():
    pairs = [sample((60, 80), seed) for seed in range(4)]
    for make in (BoundaryIoU, TrimapIoU):
        parts = [make(CLASSES), make(CLASSES)]
        for index, (predicted, truth) in enumerate(pairs):
            parts[index % 2].update(torch.from_numpy(predicted), torch.from_numpy(truth))
        parts[0].merge_state(parts[1])
        np.testing.assert_array_equal(parts[0].compute(), score(make(CLASSES), pairs))


def test_the_width_is_two_hundredths_of_the_diagonal_and_a_half_goes_to_the_even_number():
    # 0.02 x 125 = 2.5, so the region of the whole image is a ring of 2 pixels, of which the prediction lacks a row.
    truth = np.zeros((75, 100), np.uint8)
    predicted = truth.copy()
    predicted[0] = 1
    ring = 75 * 100 - 71 * 96
    # The prediction's ring starts a row lower, and there takes in a row of 96 pixels that the truth's does not.
    assert score(BoundaryIoU(2), [(predicted, truth)]).tolist() == [(ring - 100) / (ring + 96), 0]


@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_prediction_scores_one_whatever_it_says_of_void(seed: int):
    predicted, truth = sample((60, 80), seed)
    perfect = np.where(truth == IGNORE_INDEX, predicted, truth)
    for metric in (BoundaryIoU(CLASSES), TrimapIoU(CLASSES)):
        assert (score(metric, [(perfect, truth)]) == 1).all()


def test_what_is_predicted_on_void_does_not_matter():
    predicted, truth = sample((60, 80), seed=0)
    other = np.where(truth == IGNORE_INDEX, (predicted + 1) % CLASSES, predicted)
    assert (other != predicted).any()
    for make in (BoundaryIoU, TrimapIoU):
        np.testing.assert_array_equal(
            score(make(CLASSES), [(predicted, truth)]), score(make(CLASSES), [(other, truth)])
        )


def test_without_an_ignore_index_255_is_a_label_like_any_other():
    predicted, truth = sample((60, 80), seed=0)
    as_class = np.where(truth == IGNORE_INDEX, CLASSES, truth).astype(np.uint8)
    for make in (BoundaryIoU, TrimapIoU):
        found = score(make(CLASSES + 1, ignore_index=None), [(predicted, as_class)])
        assert (found[..., CLASSES] == 0).all(), "it is never predicted"


def test_nothing_but_void_has_no_figure():
    void = np.full((20, 30), IGNORE_INDEX, np.uint8)
    for metric in (BoundaryIoU(CLASSES), TrimapIoU(CLASSES)):
        assert np.isnan(score(metric, [(np.zeros_like(void), void)])).all()


def test_an_image_of_one_class_has_a_boundary_but_no_trimap():
    whole = np.ones((20, 30), np.uint8)
    np.testing.assert_array_equal(score(BoundaryIoU(3), [(whole, whole)]), [np.nan, 1, np.nan])
    assert np.isnan(score(TrimapIoU(3), [(whole, whole)])).all()


def test_a_shift_by_a_pixel_costs_the_boundary_more_than_the_whole():
    truth = np.zeros((100, 100), np.uint8)
    truth[20:80, 20:80] = 1
    found = score(BoundaryIoU(2), [(np.roll(truth, 1, 1), truth)])
    whole = 59 * 60 / (61 * 60)
    assert found[1] < whole - 0.2


def test_the_labels_that_are_handed_in_stay_as_they_are():
    pair = sample((60, 80), seed=0, void=False)
    kept = [labels.copy() for labels in pair]
    for metric in (BoundaryIoU(CLASSES), BoundaryIoU(CLASSES, ignore_index=None), TrimapIoU(CLASSES)):
        score(metric, [pair])
        np.testing.assert_array_equal(pair, kept)
