"""Tells when a CPU has no fast instructions for the precision of a run."""

import time

import torch
import torch.nn.functional as F

ROUNDS = 5
SLOWER = 1.2
"""bf16 that takes this many times as long as float32 is told."""


def warn_of_slow_bf16(precision: object) -> None:
    """Print a line if a run on the CPU computes in bf16, and this CPU is faster in float32.

    Args:
        precision: The trainer's precision.
    """
    if not str(precision).startswith("bf16"):
        return
    ratio = bf16_slowdown()
    if ratio > SLOWER:
        print(
            f"precision: a convolution in bf16 takes {ratio:.1f} times as long as in float32 on this CPU; "
            "--trainer.precision=32-true is faster"
        )


@torch.no_grad()
def bf16_slowdown() -> float:
    """Return the time of a convolution in bf16 over that in float32, with the present number of threads."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        image = torch.ones(1, 64, 48, 48, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.ones(64, 64, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        rounds = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            F.conv2d(image, weight, padding=1)
            rounds.append(time.perf_counter() - start)
        seconds[dtype] = min(rounds)
    return seconds[torch.bfloat16] / seconds[torch.float32]
