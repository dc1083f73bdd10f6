"""`refinenet benchmark`: what inference on one image costs, measured on this machine."""

import csv
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import refinenet_pl.networks  # noqa: F401  (so that --network can name its classes without their modules)
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import Inference, compute_logits
from refinenet_pl.evaluation.memory import peak_memory

WHOLE_IMAGE = Inference()


def run(args: list[str]) -> None:
    """Answer the command."""
    auto_cli(benchmark, as_positional=False, args=args[1:], prog="refinenet benchmark")


def benchmark(
    network: nn.Module,
    size: tuple[int, int] = (1024, 2048),
    inference: Inference = WHOLE_IMAGE,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    repeats: int = 3,
    output: Path | None = None,
) -> None:
    """Measure time and peak memory of inference on one image, in float32, with random weights if none are given.

    Floating-point operations (gflops, in billions) are those of the convolutions and matrix products of one inference,
    all its views together; a multiplication and the addition of its product are two.

    Args:
        network: Class and arguments of a network.
        size: Height and width of the image, in pixels.
        inference: Scales, mirror images and windows.
        device: "cpu", "cuda" or another of torch's.
        repeats: How often the time is measured, after one run that does not count; the median is taken.
        output: A CSV file to which the figures are added as a row.
    """
    if min(size) < 1 or repeats < 1:
        raise UserError(f"size is {list(size)}, repeats {repeats}; expected numbers of 1 or more")
    torch.manual_seed(0)
    network = network.eval().to(device)
    image = torch.randn(3, *size, device=device)
    resting = peak_memory(device)
    classes = show_one_batch(network, image, inference)
    alone = peak_memory(device) - resting
    seconds = []
    for index in track(range(repeats + 1), "measuring", disable=not sys.stdout.isatty()):
        start = time.perf_counter()
        inference.predict(network, image).cpu()  # which waits for the device
        if index:
            seconds.append(time.perf_counter() - start)
    peak = peak_memory(device) - resting
    row = {
        "network": type(network).__name__,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "classes": classes,
        "height": size[0],
        "width": size[1],
        **{name: _words(value) for name, value in vars(inference).items()},
        "gflops": round(gigaflops(network, image, inference), 3),
        "seconds": round(statistics.median(seconds), 4),
        "peak_memory_mb": round(peak / 1e6, 1),
        "one_batch_alone_mb": round(alone / 1e6, 1),
        "full_logits_mb": round(4 * classes * size[0] * size[1] / 1e6, 1),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    table = Table("figure", "value")
    for name, value in row.items():
        table.add_row(name, str(value))
    Console().print(table)
    if output is not None:
        add_row(output, row)


@torch.no_grad()
def show_one_batch(network: nn.Module, image: torch.Tensor, inference: Inference) -> int:
    """Run the network alone on as much as it sees at once, at the largest scale; the number of its classes."""
    largest = max(inference.scales)
    height, width = (round(side * largest) for side in image.shape[1:])
    count = 1
    if inference.window_size:
        height, width = min(height, inference.window_size[0]), min(width, inference.window_size[1])
        count = inference.windows_per_batch
    return compute_logits(network, torch.randn(count, 3, height, width, device=image.device)).shape[1]


def gigaflops(network: nn.Module, image: torch.Tensor, inference: Inference) -> float:
    """Billions of floating-point operations of one inference on an image [3, H, W], as `benchmark` counts them."""
    with FlopCounterMode(display=False) as counter:
        inference.predict(network, image)
    return counter.get_total_flops() / 1e9


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV file, which is begun with a header.

    Raises:
        UserError: The file has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text() if path.is_file() else ""
    if old and next(csv.reader(old.splitlines())) != list(row):
        raise UserError(f"{path}: its columns are not those of this command; name another file with --output")
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if not old:
            writer.writeheader()
        writer.writerow(row)


def _words(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else value
