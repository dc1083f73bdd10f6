"""Samplers: which process reads which sample, in which order."""

from collections.abc import Sized

import torch
from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSampler
from torch import distributed
from torch.utils.data import DistributedSampler

from refinenet_pl.errors import UserError


def evaluation_sampler(
    dataset: Sized, num_replicas: int | None = None, rank: int | None = None
) -> UnrepeatedDistributedSampler:
    """Return a sampler that deals each sample to exactly one process: rank, rank + world, rank + 2 world, ...

    PyTorch's `DistributedSampler` repeats samples until all processes have the same number, which changes the metrics.
    The returned sampler is a subclass of it, so Lightning keeps it. Lightning replaces all other samplers.

    Args:
        dataset: Samples to draw, in order.
        num_replicas: Number of processes. None: the processes of this run.
        rank: Index of this process, 0..num_replicas - 1. None: the rank in this run.

    Raises:
        UserError: There are fewer samples than processes. A process without a sample would block the others.
    """
    default_world, default_rank = _world_and_rank()
    world = default_world if num_replicas is None else num_replicas
    if len(dataset) < world:
        raise UserError(
            f"{len(dataset)} images cannot be split across {world} devices: each device needs at least one image. "
            "Use fewer devices (trainer.devices) or more images."
        )
    rank = default_rank if rank is None else rank
    return UnrepeatedDistributedSampler(dataset, num_replicas=world, rank=rank, shuffle=False)


def training_sampler(dataset: Sized) -> DistributedSampler[int]:
    """Return a sampler that shuffles in each epoch. The order depends only on the global seed and the epoch.

    A single device uses it too: PyTorch's `RandomSampler` draws the order from the global generator, so that a resumed
    run would see other batches than an uninterrupted one. Lightning sets the sampler's epoch.

    Args:
        dataset: Samples to draw.
    """
    world, rank = _world_and_rank()
    # The seed of torch.manual_seed or seed_everything: the same in every process, as the sampler requires.
    return DistributedSampler(dataset, num_replicas=world, rank=rank, seed=torch.initial_seed())  # type: ignore[arg-type]


def _world_and_rank() -> tuple[int, int]:
    """The number of processes in this run, and the rank of this one."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size(), distributed.get_rank()
    return 1, 0
