"""Errors that are planted into drawn scenes come back under their own names."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from refinenet_pl.evaluation.boundary import near_edges
from refinenet_pl.evaluation.comparison import compare
from refinenet_pl.evaluation.error_parts import PARTS, error_parts, iou_losses, segments
from refinenet_pl.evaluation.influence import losses_and_influence
from refinenet_pl.evaluation.metrics import class_iou
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import describe_errors, summarize_errors

SKY, ROAD, BUS, TRUCK, POLE = range(5)


def scene() -> np.ndarray:
    """Sky over road, a bus, a truck and a thin pole; a strip is ignored."""
    target = np.full((80, 120), SKY)
    target[40:] = ROAD
    target[25:55, 10:50] = BUS
    target[30:50, 60:80] = TRUCK
    target[5:60, 100:102] = POLE
    target[:, 116:] = 255
    return target


def parts_of(prediction: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(PARTS, error_parts(prediction, scene(), 5), strict=True))


def only(parts: dict[str, np.ndarray], name: str) -> np.ndarray:
    for other, counts in parts.items():
        assert (counts.sum() > 0) == (other == name), other
    return parts[name]


def test_shifted_edges():
    prediction = scene()
    prediction[24:56, 9:51] = BUS  # one pixel too large
    counts = only(parts_of(prediction), "edge")
    assert counts.sum() == counts[SKY, BUS] + counts[ROAD, BUS] == 32 * 42 - 30 * 40


@pytest.mark.parametrize("grown", [5, -2])
def test_shifted_edges_behind_ignored_borders(grown):
    """As in PASCAL VOC, pixels at the border of the object are ignored: three outside of it."""
    target, prediction = scene(), scene()
    target[22:58, 7:53] = 255
    target[25:55, 10:50] = BUS
    prediction[25:55, 10:50] = np.where(np.arange(25, 55) < 40, SKY, ROAD)[:, None]
    prediction[25 - grown : 55 + grown, 10 - grown : 50 + grown] = BUS
    counts = only(dict(zip(PARTS, error_parts(prediction, target, 5), strict=True)), "edge")
    assert counts.sum() == (40 * 50 - 36 * 46 if grown > 0 else 30 * 40 - 26 * 36)


def test_swapped_segment():
    prediction = scene()
    prediction[25:55, 10:50] = TRUCK
    assert only(parts_of(prediction), "swap")[BUS, TRUCK] == 30 * 40


@pytest.mark.parametrize("thin", [False, True])
def test_missed_segment(thin):
    prediction = scene()
    label = POLE if thin else TRUCK
    prediction[scene() == label] = SKY
    prediction[(scene() == label) & (np.arange(80) >= 40)[:, None]] = ROAD
    counts = only(parts_of(prediction), "missed")
    assert counts[label].sum() == (scene() == label).sum()


def test_invented_segment():
    prediction = scene()
    prediction[65:75, 20:40] = BUS
    assert only(parts_of(prediction), "invented")[ROAD, BUS] == 200


def test_large_spill_into_a_neighbor_is_a_swap():
    prediction = scene()
    prediction[40:70, 10:50] = BUS  # the bus reaches 15 rows into the road
    counts = parts_of(prediction)
    assert counts["swap"][ROAD, BUS] == 11 * 40
    assert counts["edge"][ROAD, BUS] == 4 * 40


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_ignored_pixels_do_not_count(dtype):
    prediction = scene().astype(dtype)
    prediction[:, 116:] = BUS
    prediction[0, 0] = ROAD
    assert error_parts(prediction, scene().astype(dtype), 5).sum() == 1


def test_parts_sum_to_the_loss():
    prediction = scene()
    prediction[24:56, 9:51] = BUS
    prediction[30:50, 60:80] = POLE
    prediction[5:60, 100:102] = SKY
    prediction[65:75, 20:40] = TRUCK
    counted = scene() != 255
    matrix = np.zeros((5, 5), np.int64)
    np.add.at(matrix, (scene()[counted], prediction[counted]), 1)
    parts = error_parts(prediction, scene(), 5)
    np.testing.assert_array_equal(parts.sum(0), matrix - np.diag(matrix.diagonal()))
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    iou = matrix.diagonal() / union
    np.testing.assert_allclose(iou_losses(parts.sum(1) + parts.sum(2), union).sum(0), 1 - iou)
    assert (parts.sum((1, 2)) > 0).all(), "every part occurs"


def test_summary_of_a_split(tmp_path):
    names = ("sky", "road", "bus", "truck", "pole")
    images = ImageMatrices(names)
    prediction = scene()
    prediction[25:55, 10:50] = TRUCK
    prediction[24:56, 100:102][scene()[24:56, 100:102] == POLE] = SKY
    for number, mask in enumerate((prediction, scene())):
        counted = scene() != 255
        matrix = np.zeros((5, 5), np.int64)
        np.add.at(matrix, (scene()[counted], mask[counted]), 1)
        images.add(str(number), matrix, parts=error_parts(mask, scene(), 5))
    images.save(tmp_path / "per_image.npz")
    loaded = ImageMatrices.load(tmp_path / "per_image.npz")
    np.testing.assert_array_equal(loaded.error_parts(), images.error_parts())
    summary = summarize_errors(loaded)
    assert summary is not None
    iou = class_iou(torch.from_numpy(images.total())).numpy()
    assert sum(summary["mean"].values()) == pytest.approx(1 - iou.mean())
    for index, name in enumerate(names):
        assert sum(summary["per_class"][name].values()) == pytest.approx(1 - iou[index])
    # Half of the bus's pixels are lost. They are as many of the truck's union.
    assert summary["per_class"]["bus"]["swap"] == pytest.approx(0.5)
    (largest,) = summary["largest_swaps"]
    assert largest["classes"] == ["bus", "truck"]
    assert largest["loss"] == pytest.approx((0.5 + 1200 / (2 * 400 + 1200)) / 5)
    sentence = describe_errors(summary)
    assert sentence is not None
    assert sentence.startswith(f"Missing to 100 % mean IoU: {100 * (1 - iou.mean()):.2f} points. At edges ")
    assert f"swapped classes {100 * summary['mean']['swap']:.2f} (most: bus and truck, 22.00), missed" in sentence
    without = ImageMatrices(names)
    without.add("0", matrix)
    assert summarize_errors(without) is not None, "an image without errors has no unknown part"
    without.add("1", matrix[::-1])
    assert summarize_errors(without) is None


def test_segments_equal_labels_of_each_class():
    mask = np.random.default_rng(0).integers(0, 3, (40, 50))
    found = segments(mask)
    for label in range(3):
        expected, count = ndimage.label(mask == label)
        pairs = set(zip(found[mask == label].tolist(), expected[mask == label].tolist(), strict=True))
        assert len(pairs) == count, "one number for each segment, and no two segments with one number"
        assert len({first for first, _ in pairs}) == count


def test_edges_equal_a_search_of_all_neighbors():
    mask = np.random.default_rng(0).integers(0, 2, (12, 15)).repeat(3, 0).repeat(3, 1)
    found = near_edges(torch.from_numpy(mask), 2)
    for row, column in np.ndindex(*mask.shape):
        window = mask[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
        assert found[row, column] == (window != mask[row, column]).any()


def drawn_images(rng: np.random.Generator, count: int, seed_shift: int = 0) -> ImageMatrices:
    images = ImageMatrices(("sky", "road", "bus", "truck", "pole"))
    for number in range(count):
        target = scene()
        prediction = np.roll(target, rng.integers(0, 3) + seed_shift, axis=1)
        prediction[50 : 50 + rng.integers(0, 12), 20:40] = TRUCK
        if rng.random() < 0.5:
            prediction[target == POLE] = SKY
        counted = target != 255
        prediction[prediction == 255] = SKY
        matrix = np.zeros((5, 5), np.int64)
        np.add.at(matrix, (target[counted], prediction[counted]), 1)
        images.add(f"{number:02}", matrix, parts=error_parts(prediction, target, 5))
    return images


def test_influence_is_the_slope_of_an_image_s_weight():
    images = drawn_images(np.random.default_rng(0), 6)
    found = losses_and_influence(images)
    assert found is not None
    losses, influence = found
    errors = images.error_pixels()
    assert errors is not None
    union = images.target_pixels() + images.predicted_pixels() - images.correct_pixels()

    def weighted(weights: np.ndarray) -> np.ndarray:
        per_class = np.tensordot(weights, errors, 1) / (weights @ union)
        return np.concatenate([per_class, per_class.mean(axis=1, keepdims=True)], axis=1)

    np.testing.assert_allclose(losses, weighted(np.ones(6)))
    for index in range(6):
        step = 1e-6 * np.eye(6)[index]
        slope = (weighted(1 + step) - weighted(1 - step)) / 2e-6
        np.testing.assert_allclose(influence[index], slope, atol=1e-8)


def test_differences_of_parts_sum_to_the_difference_of_iou():
    rng = np.random.default_rng(1)
    a, b = ([drawn_images(rng, 8, shift) for _ in range(3)] for shift in (0, 1))
    difference = compare(a, b, [0, 1, 2], [0, 1, 2])
    assert difference.errors is not None
    parts = difference.errors.value.reshape(len(PARTS), 6)
    np.testing.assert_allclose(parts.sum(axis=0), -difference.estimate.value, atol=1e-12)
    assert difference.errors.covers_seeds
    edge = PARTS.index("edge")
    assert parts[edge, -1] > 0, "all edges are shifted by one pixel more"
    low, high = difference.errors.interval().reshape(len(PARTS), 6, 2)[edge, -1]
    assert low < parts[edge, -1] < high
