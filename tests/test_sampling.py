import itertools

import pytest
import torch
from torch.utils.data import DistributedSampler

from refinenet_pl.data.sampling import EvaluationSampler, training_sampler


@pytest.mark.parametrize("count", [1, 2, 5, 8, 101])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_evaluation_visits_each_sample_exactly_once_over_all_processes(count, world):
    samplers = [EvaluationSampler(range(count), world, rank) for rank in range(world)]
    dealt = [list(sampler) for sampler in samplers]
    assert sorted(itertools.chain(*dealt)) == list(range(count))
    assert [len(sampler) for sampler in samplers] == [len(indices) for indices in dealt]


def test_evaluation_goes_in_order_and_deals_in_turn():
    assert list(EvaluationSampler(range(5))) == [0, 1, 2, 3, 4]
    assert list(EvaluationSampler(range(5), 2, 0)) == [0, 2, 4]
    assert list(EvaluationSampler(range(5), 2, 1)) == [1, 3]


def test_the_evaluation_order_is_the_same_in_every_epoch():
    sampler = EvaluationSampler(range(7))
    sampler.set_epoch(3)
    assert list(sampler) == list(range(7))


def test_lightning_takes_the_evaluation_sampler_for_a_distributed_one():
    assert isinstance(EvaluationSampler(range(3)), DistributedSampler)


def order(seed, epoch, count=50):
    torch.manual_seed(seed)
    sampler = training_sampler(range(count))
    sampler.set_epoch(epoch)
    torch.rand(7)  # what the run has drawn since must not matter
    return list(sampler)


def test_the_training_order_follows_the_global_seed_and_the_epoch_only():
    assert order(seed=1, epoch=0) == order(seed=1, epoch=0)
    assert order(seed=1, epoch=0) != order(seed=1, epoch=1)
    assert order(seed=1, epoch=0) != order(seed=2, epoch=0)
    assert sorted(order(seed=1, epoch=4)) == list(range(50))
