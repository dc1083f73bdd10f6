"""Errors that are planted into drawn scenes come back under their own names."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from refinenet_pl.evaluation.boundary import near_edges
from refinenet_pl.evaluation.error_parts import PARTS, error_parts, iou_losses, segments
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
    iou = matrix.diagonal() / (matrix.sum(0) + matrix.sum(1) - matrix.diagonal())
    np.testing.assert_allclose(iou_losses(parts, matrix).sum(0), 1 - iou)
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
