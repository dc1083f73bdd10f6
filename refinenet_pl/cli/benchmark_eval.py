"""`refinenet benchmark eval`: time of the metrics of one image, beside torchmetrics."""

from pathlib import Path

import torch
import torch.nn.functional as F
from jsonargparse import auto_cli
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from refinenet_pl.benchmarks.machine import measure_rates
from refinenet_pl.benchmarks.rows import add_rows, machine_columns, show, timing_columns
from refinenet_pl.benchmarks.timing import time_in_turn, warn_if_busy
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.boundary import BoundaryIoU, TrimapIoU
from refinenet_pl.evaluation.confusion import confusion_matrix

PEER = "torchmetrics' confusion matrix"
BLOCK = 16
"""Side of the squares that the random masks consist of, in pixels."""


def run(name: str, args: list[str]) -> None:
    """Parse the options and measure."""
    auto_cli(benchmark_eval, as_positional=False, args=args, prog=f"refinenet {name}", parser_class=Parser)


def benchmark_eval(
    size: tuple[int, int] = (1024, 2048),
    classes: int = 19,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    repeats: int = 5,
    output: Path | None = None,
) -> None:
    """Measure the metrics of an evaluation on one image, in turn.

    Prediction and target are random squares of classes; a fifth of the pixels is wrong, a twentieth ignored.
    `floor_seconds` is a copy of both. `times_faster` compares the confusion matrix with torchmetrics' own.

    Args:
        size: Height and width of the image, in pixels.
        classes: Number of classes.
        device: "cpu", "cuda", or another device of torch.
        repeats: Number of timed runs after one warm-up run. Median and quartiles are reported.
        output: CSV file to append the rows to.
    """
    if min(size) < 1 or repeats < 1 or not 2 <= classes < IGNORE_INDEX:
        raise UserError(f"found size {list(size)}, repeats {repeats}, classes {classes}; expected 1, 1 and 2 or more")
    busy = warn_if_busy()
    prediction, target = (mask.to(device) for mask in random_masks(size, classes))
    boundary, trimap = (metric(classes, IGNORE_INDEX).to(device) for metric in (BoundaryIoU, TrimapIoU))
    tasks = {
        "confusion matrix": lambda: confusion_matrix(prediction, target, classes, IGNORE_INDEX),
        PEER: lambda: multiclass_confusion_matrix(prediction, target, classes, ignore_index=IGNORE_INDEX),
        "Boundary IoU": lambda: boundary.update(prediction, target),
        "trimap IoU": lambda: trimap.update(prediction, target),
    }
    timings = time_in_turn(tasks, repeats, device)
    floor = measure_rates(device, torch.float32).floor(0, 2 * (prediction.nbytes + target.nbytes))
    rows = [
        {
            "name": name,
            "classes": classes,
            "height": size[0],
            "width": size[1],
            "variant": "uint8",
            "peak_memory_mb": None,
            **timing_columns(timing, timings[PEER] if name == "confusion matrix" else timing, floor),
            **machine_columns(device, busy),
        }
        for name, timing in timings.items()
    ]
    show(rows, f"metrics of {size[0]} x {size[1]} pixels with {classes} classes")
    if output is not None:
        add_rows(output, rows)


def random_masks(size: tuple[int, int], classes: int) -> tuple[Tensor, Tensor]:
    """Return a prediction and a target, uint8 [H, W]."""
    generator = torch.Generator().manual_seed(0)
    small = (-(-size[0] // BLOCK), -(-size[1] // BLOCK))
    blocks = torch.randint(classes, (2, 1, *small), generator=generator).float()
    right, wrong = F.interpolate(blocks, size, mode="nearest").to(torch.uint8)[:, 0]
    prediction = torch.where(torch.rand(size, generator=generator) < 0.2, wrong, right)
    return prediction, right.masked_fill(torch.rand(size, generator=generator) < 0.05, IGNORE_INDEX)
