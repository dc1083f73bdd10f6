"""Figures of a confusion matrix: their definitions, and what they say of classes that are not there."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from refinenet_pl.evaluation import class_iou, mean_accuracy, mean_iou, pixel_accuracy
from refinenet_pl.evaluation.metrics import CONVENTIONS, f1, frequency_weighted_iou, precision, recall

NAN = math.nan
# Class 2 is in neither truth nor prediction; class 3 is predicted, but nowhere true; class 4 is true, but never found.
MATRIX = torch.tensor([[6, 2, 0, 0, 0], [1, 3, 0, 4, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [5, 0, 0, 0, 0]])


def of_21_classes() -> np.ndarray:
    """A matrix in which 12 of 21 classes are present, and class 12 is predicted without being there."""
    random = np.random.default_rng(0)
    matrix = np.zeros((21, 21), np.int64)
    matrix[:12, :13] = random.integers(0, 30, (12, 13))
    matrix[range(12), range(12)] += 2000
    return matrix


def test_figures_of_each_class_worked_out_by_hand():
    for figure, expected in {
        class_iou: [6 / 14, 3 / 10, NAN, 0, 0],
        precision: [6 / 12, 3 / 5, NAN, 0, NAN],
        recall: [6 / 8, 3 / 8, NAN, NAN, 0],
        f1: [12 / 20, 6 / 13, NAN, 0, 0],
    }.items():
        assert figure(MATRIX).dtype == torch.float64
        np.testing.assert_allclose(figure(MATRIX), expected, rtol=1e-15)


def test_means_worked_out_by_hand():
    assert mean_iou(MATRIX) == pytest.approx((6 / 14 + 3 / 10) / 4, rel=1e-15)
    assert pixel_accuracy(MATRIX) == pytest.approx(9 / 21, rel=1e-15)
    assert mean_accuracy(MATRIX) == pytest.approx((6 / 8 + 3 / 8 + 0) / 3, rel=1e-15)
    assert frequency_weighted_iou(MATRIX) == pytest.approx(8 / 21 * 6 / 14 + 8 / 21 * 3 / 10, rel=1e-15)


def test_f1_is_the_harmonic_mean_of_precision_and_recall_and_grows_with_iou():
    matrix = torch.from_numpy(of_21_classes())
    p, r, iou = (figure(matrix)[:12] for figure in (precision, recall, class_iou))
    torch.testing.assert_close(f1(matrix)[:12], 2 / (1 / p + 1 / r), rtol=1e-14, atol=0)
    torch.testing.assert_close(f1(matrix)[:12], 2 * iou / (1 + iou), rtol=1e-14, atol=0)


def test_an_empty_matrix_has_no_figures():
    matrix = torch.zeros(4, 4, dtype=torch.int64)
    assert all(figure(matrix).isnan().all() for figure in (class_iou, precision, recall, f1))
    assert all(
        math.isnan(figure(matrix)) for figure in (mean_iou, pixel_accuracy, mean_accuracy, frequency_weighted_iou)
    )


def test_every_convention_of_mean_iou_is_its_own_and_equals_its_definition_in_fractions():
    matrix = of_21_classes()
    ratios: dict[int, Fraction] = {}
    for label in range(21):
        union = matrix[label].sum() + matrix[:, label].sum() - matrix[label, label]
        if union:
            ratios[label] = Fraction(int(matrix[label, label]), int(union))
    total = sum(ratios.values())
    expected = {"cityscapes": total / 13, "matlab": total / 12, "absent_as_zero": total / 21}
    found = {name: mean_iou(torch.from_numpy(matrix), name) for name in CONVENTIONS}
    assert math.isnan(found.pop("voc"))
    assert found == {name: pytest.approx(float(value), rel=1e-14) for name, value in expected.items()}
    assert mean_iou(torch.from_numpy(matrix)) == found["cityscapes"]
    assert found["matlab"] > found["cityscapes"] + 0.05 > found["absent_as_zero"] + 0.3


def test_the_conventions_agree_where_every_class_is_true_and_predicted():
    matrix = torch.from_numpy(np.random.default_rng(0).integers(1, 100, (21, 21)))
    found = {mean_iou(matrix, name) for name in CONVENTIONS}
    assert max(found) - min(found) < 1e-15


def test_an_unknown_convention_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"'coco'.*cityscapes, voc, matlab, absent_as_zero"):
        mean_iou(MATRIX, "coco")  # type: ignore[arg-type]


def test_counts_too_large_for_float32_do_not_blur_the_figures():
    matrix = torch.tensor([[2**40, 1], [0, 2**40]])
    assert class_iou(matrix)[0] == 2**40 / (2**40 + 1) < 1
