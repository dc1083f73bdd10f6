"""`refinenet benchmark`: time, memory and operations of inference on one image, measured on this machine."""

import csv
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import refinenet_pl.networks  # noqa: F401  (so that --network can name its classes without their modules)
from refinenet_pl.cli.parser import Parser
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import Inference, compute_logits
from refinenet_pl.evaluation.memory import peak_memory
from refinenet_pl.progress import track

WHOLE_IMAGE = Inference()


def run(name: str, args: list[str]) -> None:
    """Parse the options and measure."""
    auto_cli(benchmark, as_positional=False, args=args, prog=f"refinenet {name}", parser_class=Parser)


def benchmark(
    network: nn.Module,
    size: tuple[int, int] = (1024, 2048),
    inference: Inference = WHOLE_IMAGE,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    repeats: int = 3,
    output: Path | None = None,
) -> None:
    """Measure time and peak memory of inference on one image, in float32.

    The weights are random unless the network's arguments name some. `gflops` counts the operations of all convolutions
    and matrix products of one inference, over all its views, in 1e9. A multiplication and an addition are two.

    Args:
        network: Class and arguments of the network.
        size: Height and width of the image, in pixels.
        inference: Scales, flips and windows.
        device: "cpu", "cuda", or another device of torch.
        repeats: Number of timed runs after one warm-up run. The median is reported.
        output: CSV file to append the measurements to, as one row.
    """
    if min(size) < 1 or repeats < 1:
        raise UserError(f"size is {list(size)} and repeats is {repeats}; expected numbers of at least 1")
    torch.manual_seed(0)
    network = network.eval().to(device)
    image = torch.randn(3, *size, device=device)
    idle = peak_memory(device)
    classes = run_one_batch(network, image, inference)
    batch_memory = peak_memory(device) - idle
    seconds = []
    with track(range(repeats + 1), "measuring") as indices:
        for index in indices:
            start = time.perf_counter()
            inference.predict(network, image).cpu()  # cpu() waits for the device
            if index:
                seconds.append(time.perf_counter() - start)
    peak = peak_memory(device) - idle
    row = {
        "network": type(network).__name__,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "classes": classes,
        "height": size[0],
        "width": size[1],
        **{name: _csv_value(value) for name, value in vars(inference).items()},
        "gflops": round(gigaflops(network, image, inference), 3),
        "seconds": round(statistics.median(seconds), 4),
        "peak_memory_mb": round(peak / 1e6, 1),
        "one_batch_alone_mb": round(batch_memory / 1e6, 1),
        "full_logits_mb": round(4 * classes * size[0] * size[1] / 1e6, 1),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    table = Table("measure", "value")
    for name, value in row.items():
        table.add_row(name, str(value))
    Console(markup=False).print(table)
    if output is not None:
        add_row(output, row)


@torch.no_grad()
def run_one_batch(network: nn.Module, image: torch.Tensor, inference: Inference) -> int:
    """Run one batch of windows, or the whole image, at the largest scale; return the number of classes."""
    largest = max(inference.scales)
    height, width = (round(side * largest) for side in image.shape[1:])
    count = 1
    if inference.window_size:
        height, width = min(height, inference.window_size[0]), min(width, inference.window_size[1])
        count = inference.windows_per_batch
    return compute_logits(network, torch.randn(count, 3, height, width, device=image.device)).shape[1]


def gigaflops(network: nn.Module, image: torch.Tensor, inference: Inference) -> float:
    """Return the operations of one inference on an image [3, H, W], in 1e9, counted as `benchmark` documents."""
    with FlopCounterMode(display=False) as counter:
        inference.predict(network, image)
    return counter.get_total_flops() / 1e9


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a CSV file. A new file gets a header.

    Raises:
        UserError: The file has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    if old and next(csv.reader(old.splitlines())) != list(row):
        raise UserError(f"{path}: its columns differ from the columns of this command; name another file with --output")
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if not old:
            writer.writeheader()
        writer.writerow(row)


def _csv_value(value: Any) -> Any:
    """Return a tuple as words, for one field."""
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else value
