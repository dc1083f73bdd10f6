"""Samplers of evaluation and training."""

import itertools

import pytest
import torch
from torch.utils.data import DistributedSampler

from refinenet_pl.data.sampling import TrainingSampler, evaluation_sampler
from refinenet_pl.errors import UserError


@pytest.mark.parametrize("count", [4, 5, 8, 101])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_each_sample_exactly_once(count, world):
    samplers = [evaluation_sampler(range(count), world, rank) for rank in range(world)]
    indices = [list(sampler) for sampler in samplers]
    assert indices == [list(range(rank, count, world)) for rank in range(world)]
    assert sorted(itertools.chain(*indices)) == list(range(count))
    assert [len(sampler) for sampler in samplers] == [len(drawn) for drawn in indices]


@pytest.mark.parametrize(("count", "world"), [(0, 1), (1, 2), (3, 4)])
def test_fewer_samples_than_processes(count, world):
    for rank in range(world):
        with pytest.raises(UserError, match=f"{count} images cannot be split across {world} devices.*fewer devices"):
            evaluation_sampler(range(count), world, rank)


def test_defaults_come_from_the_run(monkeypatch):
    assert list(evaluation_sampler(range(5))) == [0, 1, 2, 3, 4]
    monkeypatch.setattr("refinenet_pl.data.sampling.world_and_rank", lambda: (2, 1))
    assert list(evaluation_sampler(range(5))) == [1, 3]
    assert list(evaluation_sampler(range(5), rank=0)) == [0, 2, 4]


def test_evaluation_ignores_epoch():
    sampler = evaluation_sampler(range(7))
    sampler.set_epoch(3)
    assert list(sampler) == list(range(7))


def test_evaluation_sampler_is_distributed():
    assert isinstance(evaluation_sampler(range(3)), DistributedSampler)  # Lightning replaces other samplers


def order(seed, epoch, count=50):
    torch.manual_seed(seed)
    sampler = TrainingSampler(range(count))
    sampler.set_epoch(epoch)
    torch.rand(7)  # later random numbers must not change the order
    return list(sampler)


def test_training_order_from_seed_and_epoch():
    assert order(seed=1, epoch=0) == order(seed=1, epoch=0)
    assert order(seed=1, epoch=0) != order(seed=1, epoch=1)
    assert order(seed=1, epoch=0) != order(seed=2, epoch=0)
    assert sorted(order(seed=1, epoch=4)) == list(range(50))
