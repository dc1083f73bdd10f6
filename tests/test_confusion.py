"""The confusion matrix against a pixel-by-pixel count in numpy."""

import numpy as np
import pytest
import torch
from helpers.tiny_fit import count_by_hand
from torch import Tensor

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.confusion import ConfusionMatrix, confusion_matrix

CLASSES = 21


def draw(seed: int, shape: tuple[int, ...] = (40, 53)) -> tuple[Tensor, Tensor]:
    """Draw a prediction and a target of all classes, uint8; a fifth of the target is ignored."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, CLASSES, shape, dtype=np.uint8)
    target[rng.random(shape) < 0.2] = IGNORE_INDEX
    return torch.from_numpy(rng.integers(0, CLASSES, shape, dtype=np.uint8)), torch.from_numpy(target)


def updated(*seeds: int) -> ConfusionMatrix:
    metric = ConfusionMatrix(CLASSES)
    for seed in seeds:
        metric.update(*draw(seed))
    return metric


def count(*seeds: int) -> np.ndarray:
    return count_by_hand([(prediction.numpy(), target.numpy()) for prediction, target in map(draw, seeds)], CLASSES)


def test_matrix_equals_pixel_count():
    matrix = updated(0).compute()
    assert matrix.dtype == torch.int64
    np.testing.assert_array_equal(matrix, count(0))
    assert matrix.sum() == (draw(0)[1] != IGNORE_INDEX).sum()


def test_rows_are_target_classes():
    metric = ConfusionMatrix(3)
    metric.update(torch.tensor([2, 2, 0]), torch.tensor([1, 1, 0]))
    assert metric.compute().tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_forward_returns_matrix_of_image(monkeypatch):
    calls = []

    def counting(*args):
        calls.append(args)
        return confusion_matrix(*args)

    monkeypatch.setattr("refinenet_pl.evaluation.confusion.confusion_matrix", counting)
    metric = ConfusionMatrix(CLASSES)
    matrices = [metric(*draw(seed)) for seed in (1, 2, 3)]
    for seed, matrix in zip((1, 2, 3), matrices, strict=True):
        assert matrix.dtype == torch.int64
        np.testing.assert_array_equal(matrix, count(seed))
    np.testing.assert_array_equal(metric.compute(), count(1, 2, 3))
    assert len(calls) == 3, "each image is counted once"


def test_updates_accumulate():
    pieces = [draw(seed) for seed in (1, 2, 3)]
    at_once = ConfusionMatrix(CLASSES)
    at_once.update(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))
    assert torch.equal(updated(1, 2, 3).compute(), at_once.compute())
    np.testing.assert_array_equal(at_once.compute(), count(1, 2, 3))


def test_reset_clears_counts():
    metric = updated(1)
    metric.reset()
    metric.update(*draw(2))
    np.testing.assert_array_equal(metric.compute(), count(2))


def test_returned_matrix_survives_reset():
    metric = updated(1)
    matrix = metric.compute()
    metric.reset()
    metric.update(*draw(2))
    np.testing.assert_array_equal(matrix, count(1))


def test_metrics_merge():
    metric = updated(1)
    metric.merge_state(updated(2, 3))
    np.testing.assert_array_equal(metric.compute(), count(1, 2, 3))


def test_large_counts_stay_exact():
    metric = updated(1)
    start = 2**53 + 1  # float64 cannot represent it
    metric.matrix += start
    metric.update(*draw(2))
    assert metric.compute().tolist() == (start + count(1, 2)).tolist()


def test_all_ignored_counts_nothing():
    metric = ConfusionMatrix(CLASSES)
    metric.update(torch.zeros(4, 4, dtype=torch.uint8), torch.full((4, 4), IGNORE_INDEX, dtype=torch.uint8))
    metric.update(torch.zeros(0, dtype=torch.uint8), torch.zeros(0, dtype=torch.uint8))
    assert metric.compute().sum() == 0


def test_ignore_index_can_be_none():
    metric = ConfusionMatrix(2, ignore_index=None)
    metric.update(torch.tensor([0, 1]), torch.tensor([1, 1]))
    assert metric.compute().tolist() == [[0, 0], [1, 1]]
    with pytest.raises(UserError, match="255"):
        metric.update(torch.tensor([0]), torch.tensor([255]))


@pytest.mark.parametrize(("prediction", "target", "named"), [(3, 0, "prediction"), (0, 3, "target"), (0, -1, "target")])
def test_class_index_out_of_range(prediction, target, named):
    with pytest.raises(UserError, match=rf"{named} holds class indices -?\d\.\.\d; expected 0\.\.2"):
        ConfusionMatrix(3).update(torch.tensor([0, prediction]), torch.tensor([0, target]))


def test_prediction_on_ignored_pixels():
    metric = ConfusionMatrix(3)
    metric.update(torch.tensor([7, 1]), torch.tensor([IGNORE_INDEX, 1]))
    assert metric.compute().sum() == 1


def test_shapes_must_match():
    with pytest.raises(UserError, match=r"\(2, 3\).*\(3, 2\)"):
        ConfusionMatrix(3).update(torch.zeros(2, 3, dtype=torch.long), torch.zeros(3, 2, dtype=torch.long))
