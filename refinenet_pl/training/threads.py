"""Chooses the number of CPU threads: where other work shares the cores, many threads wait for each other."""

import os
import time
from collections.abc import Mapping

import torch
import torch.nn.functional as F

from refinenet_pl.data.parallel import usable_cpus
from refinenet_pl.errors import UserError

ROUNDS = 10
"""Timed rounds per number of threads; the measurement takes half a second on two idle cores."""
GAIN = 1.1
"""More threads must be faster by this factor, because the figures of a run change with their number."""


def use_threads(number: int | None) -> int:
    """Set the number of CPU threads of this process, and return it.

    Args:
        number: The number, of which at most one per CPU is used. None: OMP_NUM_THREADS if it is set, else the number
            with which a short training step is fastest now. A line says if that is fewer than there are.

    Raises:
        UserError: The number is less than 1.
    """
    if number is not None and number < 1:
        raise UserError(f"threads is {number}; expected 1 or more, or null to choose it by a short measurement")
    if number is None and "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    most = usable_cpus()
    if number is None:
        seconds = measure_threads(torch.get_num_threads())
        number = fastest_threads(seconds)
        if number < max(seconds):
            times = " and ".join(f"{1000 * seconds[count]:.0f} ms" for count in (number, max(seconds)))
            print(
                f"threads: {number} of {max(seconds)}, because other work shares the CPUs ({times} for the same work); "
                "--threads sets another number"
            )
    elif number > most:
        print(f"threads: {most} instead of the run's {number}, because this machine has {most} CPUs")
        number = most
    torch.set_num_threads(number)
    return number


def measure_threads(most: int) -> dict[int, float]:
    """Return the seconds of a short training step with 1, 2, 4, ... up to `most` threads, in turn.

    It is the mean over some rounds, not the median: what makes many threads slow is that a few steps stand still.

    Args:
        most: Largest number of threads.
    """
    numbers = [*(2**power for power in range(most.bit_length()) if 2**power < most), most]
    image = torch.ones(2, 64, 48, 48).contiguous(memory_format=torch.channels_last)  # no random numbers are drawn
    weight = torch.ones(64, 64, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    before = torch.get_num_threads()
    seconds = dict.fromkeys(numbers, 0.0)
    try:
        for round_index in range(ROUNDS + 1):
            for number in numbers:
                torch.set_num_threads(number)
                start = time.perf_counter()
                features = F.relu(F.conv2d(image, weight, padding=1))
                F.max_pool2d(features, 5, 1, 2).mean().backward()
                if round_index:  # the first round starts the threads
                    seconds[number] += (time.perf_counter() - start) / ROUNDS
    finally:
        torch.set_num_threads(before)
    return seconds


def fastest_threads(seconds: Mapping[int, float]) -> int:
    """Return the number of threads to use: more than fewer ones only where they are clearly faster.

    Args:
        seconds: Seconds of the same work by number of threads.
    """
    chosen = min(seconds)
    for number in sorted(seconds):
        if seconds[number] * GAIN < seconds[chosen]:
            chosen = number
    return chosen
