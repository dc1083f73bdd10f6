"""The confusion matrix against a count in numpy."""

import numpy as np
import pytest
import torch
from helpers.tiny_fit import count_by_hand
from torch import Tensor

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import ConfusionMatrix

CLASSES = 21


def labels(seed: int, shape: tuple[int, ...] = (40, 53)) -> tuple[Tensor, Tensor]:
    """Predicted and true labels of all classes at random, every fifth true one void, as a task and a dataset give."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, CLASSES, shape, dtype=np.uint8)
    truth[random.random(shape) < 0.2] = IGNORE_INDEX
    return torch.from_numpy(random.integers(0, CLASSES, shape, dtype=np.uint8)), torch.from_numpy(truth)


def counted(*seeds: int) -> ConfusionMatrix:
    metric = ConfusionMatrix(CLASSES)
    for seed in seeds:
        metric.update(*labels(seed))
    return metric


def by_hand(*seeds: int) -> np.ndarray:
    return count_by_hand([(predicted.numpy(), truth.numpy()) for predicted, truth in map(labels, seeds)], CLASSES)


def test_the_matrix_equals_a_count_pixel_by_pixel_that_leaves_void_out():
    matrix = counted(0).compute()
    assert matrix.dtype == torch.int64
    np.testing.assert_array_equal(matrix, by_hand(0))
    assert matrix.sum() == (labels(0)[1] != IGNORE_INDEX).sum()


def test_rows_are_the_truth_and_columns_the_prediction():
    metric = ConfusionMatrix(3)
    metric.update(torch.tensor([2, 2, 0]), torch.tensor([1, 1, 0]))
    assert metric.compute().tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 0]]


def test_several_updates_add_up_to_one_with_all_pixels():
    pieces = [labels(seed) for seed in (1, 2, 3)]
    at_once = ConfusionMatrix(CLASSES)
    at_once.update(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))
    assert torch.equal(counted(1, 2, 3).compute(), at_once.compute())
    np.testing.assert_array_equal(at_once.compute(), by_hand(1, 2, 3))


def test_reset_forgets_everything():
    metric = counted(1)
    metric.reset()
    metric.update(*labels(2))
    np.testing.assert_array_equal(metric.compute(), by_hand(2))


def test_a_matrix_handed_out_stays_as_it_was_when_the_metric_starts_anew():
    metric = counted(1)
    matrix = metric.compute()
    metric.reset()
    metric.update(*labels(2))
    np.testing.assert_array_equal(matrix, by_hand(1))


def test_merging_two_metrics_counts_the_pixels_of_both():
    metric = counted(1)
    metric.merge_state(counted(2, 3))
    np.testing.assert_array_equal(metric.compute(), by_hand(1, 2, 3))


def test_counts_beyond_the_range_of_int32_and_of_float32_stay_exact():
    metric = counted(1)
    start = 2**53 + 1  # not even float64 holds it
    metric.matrix += start
    metric.update(*labels(2))
    assert metric.compute().tolist() == (start + by_hand(1, 2)).tolist()


def test_nothing_but_void_and_no_pixel_at_all_count_nothing():
    metric = ConfusionMatrix(CLASSES)
    metric.update(torch.zeros(4, 4, dtype=torch.uint8), torch.full((4, 4), IGNORE_INDEX, dtype=torch.uint8))
    metric.update(torch.zeros(0, dtype=torch.uint8), torch.zeros(0, dtype=torch.uint8))
    assert metric.compute().sum() == 0


def test_without_an_ignore_index_every_pixel_counts():
    metric = ConfusionMatrix(2, ignore_index=None)
    metric.update(torch.tensor([0, 1]), torch.tensor([1, 1]))
    assert metric.compute().tolist() == [[0, 0], [1, 1]]
    with pytest.raises(UserError, match="255"):
        metric.update(torch.tensor([0]), torch.tensor([255]))


@pytest.mark.parametrize(("predicted", "truth", "named"), [(3, 0, "predicted"), (0, 3, "true"), (0, -1, "true")])
def test_a_label_out_of_range_is_an_error_that_says_which(predicted, truth, named):
    with pytest.raises(UserError, match=rf"{named} labels span -?\d\.\.\d; expected 0\.\.2"):
        ConfusionMatrix(3).update(torch.tensor([0, predicted]), torch.tensor([0, truth]))


def test_a_predicted_label_out_of_range_does_not_matter_where_the_truth_is_void():
    metric = ConfusionMatrix(3)
    metric.update(torch.tensor([7, 1]), torch.tensor([IGNORE_INDEX, 1]))
    assert metric.compute().sum() == 1


def test_shapes_that_differ_are_an_error_even_if_they_hold_as_many_pixels():
    with pytest.raises(UserError, match=r"\(2, 3\).*\(3, 2\)"):
        ConfusionMatrix(3).update(torch.zeros(2, 3, dtype=torch.long), torch.zeros(3, 2, dtype=torch.long))
