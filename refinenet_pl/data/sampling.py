"""Samplers: which process reads which sample, in which order."""

from collections.abc import Iterator, Sized
from itertools import islice

import torch
from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSampler
from torch import distributed
from torch.utils.data import DistributedSampler

from refinenet_pl.data.randomness import Draw
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
    default_world, default_rank = world_and_rank()
    world = default_world if num_replicas is None else num_replicas
    if len(dataset) < world:
        raise UserError(
            f"{len(dataset)} images cannot be split across {world} devices: each device needs at least one image. "
            "Use fewer devices (trainer.devices) or more images."
        )
    rank = default_rank if rank is None else rank
    return UnrepeatedDistributedSampler(dataset, num_replicas=world, rank=rank, shuffle=False)


class TrainingSampler(DistributedSampler[int]):
    """Shuffles in each epoch. The order, and the random numbers of each sample, depend on seed and epoch alone.

    A single device uses it too: PyTorch's `RandomSampler` draws the order from the global generator, so that a resumed
    run would see other batches than an uninterrupted one. Lightning sets the epoch. Its indices are `Draw`s.

    Args:
        dataset: Samples to draw.
        num_replicas: Number of processes. None: the processes of this run.
        rank: Index of this process, 0..num_replicas - 1. None: the rank in this run.
        epoch: The first epoch to draw.
        start: Number of samples of the first epoch that this process has drawn before; they are left out. The length
            stays that of a whole epoch, because Lightning counts the batches that were done before.
    """

    def __init__(
        self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None, epoch: int = 0, start: int = 0
    ) -> None:
        default_world, default_rank = world_and_rank()
        super().__init__(
            dataset,  # type: ignore[arg-type]
            num_replicas=default_world if num_replicas is None else num_replicas,
            rank=default_rank if rank is None else rank,
            # The seed of torch.manual_seed or seed_everything: the same in every process, as the sampler requires.
            seed=torch.initial_seed(),
        )
        # A loader with workers draws its first batches before Lightning sets the epoch.
        self.set_epoch(epoch)
        self.first_epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of this process."""
        start = self.start if self.epoch == self.first_epoch else 0
        return islice([Draw(index, self.seed, self.epoch) for index in super().__iter__()], start, None)


def world_and_rank() -> tuple[int, int]:
    """The number of processes in this run, and the rank of this one."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size(), distributed.get_rank()
    return 1, 0
