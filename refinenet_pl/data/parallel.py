"""Runs a task on every sample of a split, in several processes, with a progress bar."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

import torch

from refinenet_pl.errors import Fault
from refinenet_pl.progress import track

Result = TypeVar("Result")

SAMPLES_PER_PROCESS = 300
"""About as many small samples are read in the time in which a process starts, which has to import torch."""
CHUNK = 4
"""Samples that a process takes at a time."""

_task: Callable[[int], Any]
"""The task of this worker process."""


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_samples(task: Callable[[int], Result], count: int, workers: int, description: str) -> list[Result]:
    """Return the results of a task for the indices 0..count - 1, in their order.

    Processes are spawned, not forked, because torch's threads do not survive a fork. Few samples are read in this
    process.

    Args:
        task: Function of an index that can be pickled, such as a `functools.partial` of a module's function.
        count: Number of samples.
        workers: Most processes to start.
        description: What the progress bar says.

    Raises:
        Fault: A process was killed.
    """

    def tracked(results: Iterable[Result]) -> list[Result]:
        with track(results, description, count) as items:
            return list(items)

    workers = min(workers, count // SAMPLES_PER_PROCESS)
    if workers < 2:
        with _one_thread():
            return tracked(map(task, range(count)))
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), _start, (task,)) as pool:
            return tracked(pool.map(_run, range(count), chunksize=CHUNK))
    except BrokenProcessPool as error:
        raise Fault(
            "a process that reads samples was killed, probably because memory ran out; lower --workers"
        ) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: a sample's operations are short, and many threads mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _start(task: Callable[[int], Any]) -> None:
    global _task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the process that waits for this one
    torch.set_num_threads(1)
    _task = task


def _run(index: int) -> Any:
    return _task(index)
