"""Which process reads which sample, in which order."""

from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch import distributed
from torch.utils.data import DistributedSampler


class EvaluationSampler(DistributedSampler[Any]):
    """Deals the samples to the processes in turn, each exactly once: rank, rank + world, rank + 2 world, ...

    PyTorch's own sampler repeats samples until every process has as many, which changes the figures. Being a
    `DistributedSampler`, this one is left in place by Lightning, which replaces all others.

    Args:
        dataset: What to sample from, in order.
        num_replicas: Number of processes. None: as many as there are in this run.
        rank: Which of them this is, 0..num_replicas - 1. None: the rank in this run.
    """

    def __init__(self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None) -> None:
        world, own = _world()
        super().__init__(
            dataset,  # type: ignore[arg-type]
            num_replicas=world if num_replicas is None else num_replicas,
            rank=own if rank is None else rank,
            shuffle=False,
        )
        self._indices = range(self.rank, len(dataset), self.num_replicas)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


def training_sampler(dataset: Sized) -> DistributedSampler[Any]:
    """Shuffles anew each epoch, in an order that depends only on the global seed and the epoch.

    On one device too: PyTorch's `RandomSampler` would draw the order from the global generator, so that a resumed run
    would see other batches than one that was never interrupted. Lightning tells the sampler the epoch.

    Args:
        dataset: What to sample from.
    """
    world, rank = _world()
    # The seed of torch.manual_seed or seed_everything, the same in every process, as the sampler needs it.
    return DistributedSampler(dataset, num_replicas=world, rank=rank, seed=torch.initial_seed())  # type: ignore[arg-type]


def _world() -> tuple[int, int]:
    """Number of processes in this run, and this one's rank."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size(), distributed.get_rank()
    return 1, 0
