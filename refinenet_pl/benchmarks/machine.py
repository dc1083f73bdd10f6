"""What this machine can do at most, measured: the floor below which no implementation can get."""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F

from refinenet_pl.benchmarks.timing import time_in_turn

REPEATS = 5


@dataclass(frozen=True)
class Rates:
    """Measured rates of a device.

    Attributes:
        matmul: Operations per second of a square matrix product.
        convolution: Operations per second of a 3x3 convolution of 256 channels.
        copy: Bytes per second that a copy reads and writes, both counted.
    """

    matmul: float
    convolution: float
    copy: float

    def floor(self, operations: float, moved_bytes: float) -> float:
        """Return the seconds that the faster of both kinds of product, or a copy, needs at least for some work."""
        return max(operations / max(self.matmul, self.convolution), moved_bytes / self.copy)


@cache
def measure_rates(device: str, dtype: torch.dtype) -> Rates:
    """Measure the rates of a device, with the present number of threads; the fastest of a few runs.

    Args:
        device: The device.
        dtype: Type of the numbers in products.
    """
    on_gpu = device.startswith("cuda")
    side, pixels, size = (8192, 128, 2**30) if on_gpu else (1024, 48, 2**26)
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    image = torch.ones(1, 256, pixels, pixels, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.ones(256, 256, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    with torch.no_grad():
        timings = time_in_turn(
            {
                "matmul": lambda: matrix @ matrix,
                "convolution": lambda: F.conv2d(image, kernel, padding=1),
                "copy": lambda: target.copy_(source),
            },
            REPEATS,
            device,
            "measuring the machine",
        )
    fastest = {name: min(timing.seconds) for name, timing in timings.items()}
    return Rates(
        matmul=2 * side**3 / fastest["matmul"],
        convolution=2 * 9 * 256**2 * pixels**2 / fastest["convolution"],
        copy=2 * size / fastest["copy"],
    )
