"""Random numbers of augmentation that depend on seed, epoch and sample alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class Draw(int):
    """The index of a sample, as a sampler draws it in an epoch. It carries what the random numbers depend on.

    Any dataset takes it as the integer that it is. Worker processes receive the epoch with it.

    Args:
        index: Index of the sample.
        seed: Seed of the run, 0..2^64 - 1.
        epoch: The epoch.
    """

    seed: int
    epoch: int

    def __new__(cls, index: int, seed: int, epoch: int) -> "Draw":
        """Return the index with its seed and epoch."""
        draw = super().__new__(cls, index)
        draw.seed, draw.epoch = seed, epoch
        return draw

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep seed and epoch on the way to a worker process."""
        return Draw, (int(self), self.seed, self.epoch)


@contextmanager
def random_numbers_of(index: int) -> Iterator[None]:
    """Seed the CPU generators of torch, NumPy and Python for one sample, and restore them afterwards.

    Thus a sample looks the same in any process, whatever was drawn before, and reading it does not change the random
    numbers of the training, such as dropout's.

    Args:
        index: A `Draw`. Another index leaves the generators as they are.
    """
    if not isinstance(index, Draw):
        yield
        return
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    seeds = np.random.SeedSequence((index.seed, index.epoch, int(index))).generate_state(3, np.uint64).tolist()
    try:
        torch.default_generator.manual_seed(seeds[0])  # not torch.manual_seed, which seeds the GPUs as well
        np.random.seed(seeds[1] % 2**32)
        random.seed(seeds[2])
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
