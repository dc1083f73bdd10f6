"""Loaders of training and evaluation, and the generator of all loaders."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from refinenet_pl.data.sampling import evaluation_sampler


class TrainingLoader(DataLoader[Any]):
    """A loader that counts how long its user waits for batches.

    Attributes:
        seconds_waited: Sum over all batches, including the start of the worker processes.
    """

    seconds_waited = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches of one epoch."""
        start = time.perf_counter()
        for batch in super().__iter__():
            self.seconds_waited += time.perf_counter() - start
            yield batch
            start = time.perf_counter()


def evaluation_loader(dataset: Dataset[Any], num_workers: int, batch_size: int | None = None) -> DataLoader[Any]:
    """Return a loader that yields each sample on exactly one device.

    Samples are neither resized nor padded to the size of others, so that no metric depends on which samples share a
    step.

    Args:
        dataset: Samples of any sizes.
        num_workers: Processes that read them; 0 reads in this process.
        batch_size: Largest number of samples per step, which come as a list. None: single samples without a list.

    Raises:
        UserError: There are fewer samples than devices.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        collate_fn=None if batch_size is None else list,
        sampler=evaluation_sampler(dataset),  # type: ignore[arg-type]
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        generator=own_generator(),
    )


def own_generator() -> torch.Generator:
    """Return a generator for a loader, which else draws its workers' seed from the global one.

    Then the random numbers of the training, such as dropout's, would depend on how often data was iterated over.
    """
    return torch.Generator().manual_seed(torch.initial_seed())
