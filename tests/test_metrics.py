"""Metrics of a confusion matrix: definitions, and the treatment of absent classes."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from refinenet_pl.evaluation import class_iou, mean_accuracy, mean_iou, pixel_accuracy
from refinenet_pl.evaluation.metrics import (
    CONVENTIONS,
    f1,
    frequency_weighted_iou,
    iou,
    mean_over_classes,
    precision,
    recall,
)

NAN = math.nan
# Class 2 is in neither target nor prediction. Class 3 is predicted only. Class 4 is in the target, but never predicted.
MATRIX = torch.tensor([[6, 2, 0, 0, 0], [1, 3, 0, 4, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [5, 0, 0, 0, 0]])


def matrix_of_21_classes() -> np.ndarray:
    """A target with 12 of 21 classes, and a prediction with a 13th."""
    rng = np.random.default_rng(0)
    matrix = np.zeros((21, 21), np.int64)
    matrix[:12, :13] = rng.integers(0, 30, (12, 13))
    matrix[range(12), range(12)] += 2000
    return matrix


def test_iou_of_counts_of_any_shape():
    found = iou(torch.tensor([[3, 0], [0, 2]]), torch.tensor([[5, 0], [4, 2]]), torch.tensor([[4, 0], [0, 2]]))
    assert found.dtype == torch.float64
    np.testing.assert_array_equal(found, [[3 / 6, NAN], [0, 1]])


def test_class_metrics_match_hand_computation():
    for metric, expected in {
        class_iou: [6 / 14, 3 / 10, NAN, 0, 0],
        precision: [6 / 12, 3 / 5, NAN, 0, NAN],
        recall: [6 / 8, 3 / 8, NAN, NAN, 0],
        f1: [12 / 20, 6 / 13, NAN, 0, 0],
    }.items():
        assert metric(MATRIX).dtype == torch.float64
        np.testing.assert_allclose(metric(MATRIX), expected, rtol=1e-15)


def test_means_match_hand_computation():
    assert mean_iou(MATRIX) == pytest.approx((6 / 14 + 3 / 10) / 4, rel=1e-15)
    assert pixel_accuracy(MATRIX) == pytest.approx(9 / 21, rel=1e-15)
    assert mean_accuracy(MATRIX) == pytest.approx((6 / 8 + 3 / 8 + 0) / 3, rel=1e-15)
    assert frequency_weighted_iou(MATRIX) == pytest.approx(8 / 21 * 6 / 14 + 8 / 21 * 3 / 10, rel=1e-15)


def test_f1_is_the_harmonic_mean():
    matrix = torch.from_numpy(matrix_of_21_classes())
    p, r, per_class = (metric(matrix)[:12] for metric in (precision, recall, class_iou))
    torch.testing.assert_close(f1(matrix)[:12], 2 / (1 / p + 1 / r), rtol=1e-14, atol=0)
    torch.testing.assert_close(f1(matrix)[:12], 2 * per_class / (1 + per_class), rtol=1e-14, atol=0)


def test_empty_matrix_is_undefined():
    matrix = torch.zeros(4, 4, dtype=torch.int64)
    assert all(metric(matrix).isnan().all() for metric in (class_iou, precision, recall, f1))
    assert all(
        math.isnan(metric(matrix)) for metric in (mean_iou, pixel_accuracy, mean_accuracy, frequency_weighted_iou)
    )


def test_conventions_equal_their_definitions():
    matrix = matrix_of_21_classes()
    ratios: dict[int, Fraction] = {}
    for index in range(21):
        union = matrix[index].sum() + matrix[:, index].sum() - matrix[index, index]
        if union:
            ratios[index] = Fraction(int(matrix[index, index]), int(union))
    total = sum(ratios.values())
    expected = {"cityscapes": total / 13, "matlab": total / 12, "absent_as_zero": total / 21}
    found = {name: mean_iou(torch.from_numpy(matrix), name) for name in CONVENTIONS}
    assert math.isnan(found.pop("voc"))
    assert found == {name: pytest.approx(float(value), rel=1e-14) for name, value in expected.items()}
    assert mean_iou(torch.from_numpy(matrix)) == found["cityscapes"]
    assert found["matlab"] > found["cityscapes"] + 0.05 > found["absent_as_zero"] + 0.3


def test_conventions_agree_without_absent_classes():
    matrix = torch.from_numpy(np.random.default_rng(0).integers(1, 100, (21, 21)))
    found = {mean_iou(matrix, name) for name in CONVENTIONS}
    assert max(found) - min(found) < 1e-15


def test_unknown_convention_is_refused():
    with pytest.raises(ValueError, match=r"'coco'.*cityscapes, voc, matlab, absent_as_zero"):
        mean_iou(MATRIX, "coco")  # type: ignore[arg-type]


def test_large_counts_stay_exact():
    matrix = torch.tensor([[2**40, 1], [0, 2**40]])
    assert class_iou(matrix)[0] == 2**40 / (2**40 + 1) < 1


def test_mean_over_classes_skips_nan():
    found = mean_over_classes(np.array([[0.2, NAN, 0.6], [NAN, NAN, NAN]]))
    np.testing.assert_array_equal(found, [(0.2 + 0.6) / 2, NAN])
