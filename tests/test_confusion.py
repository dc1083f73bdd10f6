"""The confusion matrix against a count in numpy."""

from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_fit import count_by_hand
from torch import Tensor

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import ConfusionMatrix, confusion

CLASSES = 21


def sample(seed: int, shape: tuple[int, ...] = (40, 53)) -> tuple[Tensor, Tensor]:
    """A random prediction and target of all classes, uint8; a fifth of the target is ignored."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, CLASSES, shape, dtype=np.uint8)
    target[rng.random(shape) < 0.2] = IGNORE_INDEX
    return torch.from_numpy(rng.integers(0, CLASSES, shape, dtype=np.uint8)), torch.from_numpy(target)


def updated(*seeds: int) -> ConfusionMatrix:
    metric = ConfusionMatrix(CLASSES)
    for seed in seeds:
        metric.update(*sample(seed))
    return metric


def expected(*seeds: int) -> np.ndarray:
    return count_by_hand([(prediction.numpy(), target.numpy()) for prediction, target in map(sample, seeds)], CLASSES)


def test_matrix_equals_numpy_count():
    matrix = updated(0).compute()
    assert matrix.dtype == torch.int64
    np.testing.assert_array_equal(matrix, expected(0))
    assert matrix.sum() == (sample(0)[1] != IGNORE_INDEX).sum()


def test_rows_are_targets():
    metric = ConfusionMatrix(3)
    metric.update(prediction=torch.tensor([2, 2, 0]), target=torch.tensor([1, 1, 0]))
    assert metric.compute().tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_updates_add_up():
    samples = [sample(seed) for seed in (1, 2, 3)]
    at_once = ConfusionMatrix(CLASSES)
    at_once.update(*(torch.cat(parts) for parts in zip(*samples, strict=True)))
    assert torch.equal(updated(1, 2, 3).compute(), at_once.compute())
    np.testing.assert_array_equal(at_once.compute(), expected(1, 2, 3))


def test_call_returns_matrix_of_one_image():
    metric = ConfusionMatrix(CLASSES)
    matrices = [metric(*sample(seed)) for seed in (1, 2, 3)]
    for seed, matrix in zip((1, 2, 3), matrices, strict=True):
        assert matrix.dtype == torch.int64
        np.testing.assert_array_equal(matrix, expected(seed))
    np.testing.assert_array_equal(metric.compute(), expected(1, 2, 3))


def test_call_counts_pixels_once(monkeypatch):
    counted = []
    count = confusion.confusion_matrix

    def counting(prediction: Tensor, *args: Any) -> Tensor:
        counted.append(prediction.numel())
        return count(prediction, *args)

    monkeypatch.setattr(confusion, "confusion_matrix", counting)
    metric = ConfusionMatrix(CLASSES)
    for seed in (1, 2):
        metric(*sample(seed))
    np.testing.assert_array_equal(metric.compute(), expected(1, 2))
    assert counted == [40 * 53] * 2


def test_calls_and_updates_mix():
    metric = updated(1)
    np.testing.assert_array_equal(metric(*sample(2)), expected(2))
    metric.update(*sample(3))
    np.testing.assert_array_equal(metric.compute(), expected(1, 2, 3))


def test_reset_starts_from_zero():
    metric = updated(1)
    metric.reset()
    metric.update(*sample(2))
    np.testing.assert_array_equal(metric.compute(), expected(2))


def test_returned_matrices_do_not_change():
    metric = updated(1)
    total = metric.compute()
    of_image = metric(*sample(2))
    metric.update(*sample(3))
    metric.reset()
    metric.update(*sample(4))
    np.testing.assert_array_equal(total, expected(1))
    np.testing.assert_array_equal(of_image, expected(2))


def test_merge_adds_both_metrics():
    metric = updated(1)
    metric.merge_state(updated(2, 3))
    np.testing.assert_array_equal(metric.compute(), expected(1, 2, 3))


def test_large_counts_stay_exact():
    metric = updated(1)
    start = 2**53 + 1  # not even float64 represents it
    metric.matrix += start
    metric.update(*sample(2))
    assert metric.compute().tolist() == (start + expected(1, 2)).tolist()


def test_ignored_and_empty_images_count_nothing():
    metric = ConfusionMatrix(CLASSES)
    metric.update(torch.zeros(4, 4, dtype=torch.uint8), torch.full((4, 4), IGNORE_INDEX, dtype=torch.uint8))
    metric.update(torch.zeros(0, dtype=torch.uint8), torch.zeros(0, dtype=torch.uint8))
    assert metric.compute().sum() == 0


def test_no_ignore_index_counts_all_pixels():
    metric = ConfusionMatrix(2, ignore_index=None)
    metric.update(torch.tensor([0, 1]), torch.tensor([1, 1]))
    assert metric.compute().tolist() == [[0, 0], [1, 1]]
    with pytest.raises(UserError, match=r"0\.\.255; expected 0\.\.1$"):
        metric.update(torch.tensor([0, 0]), torch.tensor([0, 255]))


@pytest.mark.parametrize(("prediction", "target", "name"), [(3, 0, "prediction"), (0, 3, "target"), (0, -1, "target")])
def test_index_out_of_range_is_refused(prediction, target, name):
    with pytest.raises(UserError, match=rf"indices of the {name} are -?\d\.\.\d; expected 0\.\.2, or 255 for ignored"):
        ConfusionMatrix(3).update(torch.tensor([0, prediction]), torch.tensor([0, target]))


def test_ignored_pixels_may_hold_any_prediction():
    metric = ConfusionMatrix(3)
    metric.update(torch.tensor([7, 1]), torch.tensor([IGNORE_INDEX, 1]))
    assert metric.compute().sum() == 1


def test_different_shapes_are_refused():
    with pytest.raises(UserError, match=r"\(2, 3\).*\(3, 2\)"):
        ConfusionMatrix(3).update(torch.zeros(2, 3, dtype=torch.long), torch.zeros(3, 2, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize("num_classes", [2, 19, 179, 180, 181, 254, 255])
def test_any_type_and_number_of_classes(dtype: torch.dtype, num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    target, prediction = rng.integers(0, num_classes, (2, 40, 50))
    target[rng.random(target.shape) < 0.2] = IGNORE_INDEX
    counted = target != IGNORE_INDEX
    expected, _, _ = np.histogram2d(target[counted], prediction[counted], bins=np.arange(num_classes + 1))
    found = confusion.confusion_matrix(
        torch.from_numpy(prediction).to(dtype), torch.from_numpy(target).to(dtype), num_classes
    )
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found, expected)
    wrong = torch.from_numpy(prediction).to(dtype)
    wrong[counted] = IGNORE_INDEX
    with pytest.raises(UserError, match=f"prediction are 255..255; expected 0..{num_classes - 1}, or 255"):
        confusion.confusion_matrix(wrong, torch.from_numpy(target).to(dtype), num_classes)


@pytest.mark.parametrize("ignore_index", [None, 0, -100, 3])
def test_any_ignore_index(ignore_index: int | None) -> None:
    target, prediction = np.random.default_rng(0).integers(0, 3, (2, 30, 40))
    if ignore_index is not None:
        target[:10] = ignore_index
    counted = target != ignore_index
    expected, _, _ = np.histogram2d(target[counted], prediction[counted], bins=np.arange(4))
    found = confusion.confusion_matrix(torch.from_numpy(prediction), torch.from_numpy(target), 3, ignore_index)
    np.testing.assert_array_equal(found, expected)
