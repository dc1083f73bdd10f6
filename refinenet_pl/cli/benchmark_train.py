"""`refinenet benchmark train`: time and memory of a training step, beside other networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning.cli import OptimizerCallable
from torch import nn

import refinenet_pl.networks  # noqa: F401  (so that --network can name its classes without their modules)
from refinenet_pl.benchmarks.machine import measure_rates
from refinenet_pl.benchmarks.memory import reset_peak_memory
from refinenet_pl.benchmarks.peers import make_peer, peer_name
from refinenet_pl.benchmarks.rows import Row, add_rows, machine_columns, show, timing_columns
from refinenet_pl.benchmarks.timing import time_in_turn, warn_if_busy
from refinenet_pl.benchmarks.work import TRAINING, moved_bytes, operations
from refinenet_pl.cli.benchmark_source import Precision, Variant, call, network_columns, variants
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import full_resolution_logits
from refinenet_pl.evaluation.memory import peak_memory
from refinenet_pl.training.losses import CrossEntropy

KEYS = {
    "network": "model.network",
    "loss": "model.loss",
    "optimizer": "model.optimizer",
    "batch_size": "data.init_args.batch_size",
    "crop_size": "data.init_args.crop_size",
}
"""What a training step takes from an experiment."""


def run(name: str, args: list[str]) -> None:
    """Parse the options and measure."""
    call(benchmark_train, f"refinenet {name}", args, KEYS)


def benchmark_train(
    network: nn.Module,
    against: list[str] = [],  # noqa: B006  (not changed)
    batch_size: int = 8,
    crop_size: int | tuple[int, int] = (512, 512),
    loss: nn.Module | None = None,
    optimizer: OptimizerCallable = torch.optim.SGD,
    precision: list[Precision] = ["32-true"],  # noqa: B006
    channels_last: list[bool] = [True],  # noqa: B006
    compile: list[bool] = [False],  # noqa: B006
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    repeats: int = 5,
    output: Path | None = None,
) -> list[Row]:
    """Measure a training step on random images: a network, its variants and peers, in turn.

    A step is forward pass, loss at the images' size, backward pass and optimizer. The columns are those of
    `refinenet benchmark infer`; `gflops` counts forward and backward pass of the whole batch.

    Args:
        network: Class and arguments of a network.
        against: Networks of other packages in float32 and the contiguous layout, as a user would call them, such as
            "segmentation_models_pytorch.FPN('resnet50', encoder_weights=None, classes=19)".
        batch_size: Images per step.
        crop_size: Height and width of the images; one number for both.
        loss: Maps logits and targets to a scalar. None is CrossEntropy.
        optimizer: Makes the optimizer.
        precision: 32-true, bf16-true, 16-true, bf16-mixed or 16-mixed; each value is measured.
        channels_last: Memory layout; each value is measured.
        compile: Compile with torch.compile; each value is measured.
        device: "cpu", "cuda", or another device of torch.
        repeats: Number of timed steps of each row after one warm-up step. Median and quartiles are reported.
        output: CSV file to append the rows to.
    """
    size = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size
    if min(*size, batch_size, repeats) < 1:
        raise UserError(f"crop_size {list(size)}, batch_size {batch_size}, repeats {repeats}: expected 1 or more")
    torch.manual_seed(0)
    busy = warn_if_busy()
    shape = (batch_size, 3, *size)
    options: Any = {"shape": shape, "loss": loss or CrossEntropy(), "optimizer": optimizer, "device": device}
    steps = [
        Step(type(network).__name__, network, variant, **options)
        for variant in variants(precision, channels_last, compile)
    ]
    plain = Variant(channels_last=False)
    peers = [Step(peer_name(call), make_peer(call), plain, **options) for call in against]
    rows = [step.costs() for step in (*steps, *peers)]
    tasks = {str(index): step.take for index, step in enumerate((*steps, *peers))}
    timings = [*time_in_turn(tasks, repeats, device).values()]
    reference = timings[len(steps) if peers else 0]
    for step, row, timing in zip((*steps, *peers), rows, timings, strict=True):
        floor = measure_rates(device, step.variant.dtype).floor(1e9 * row["gflops"], 1e6 * row["moved_mb"])
        row |= timing_columns(timing, reference, floor) | machine_columns(device, busy)
    show(rows, f"training step, {batch_size} images of {size[0]} x {size[1]} pixels")
    if output is not None:
        add_rows(output, rows)
    return rows


class Step:
    """One row: a training step of a variant of a network."""

    def __init__(
        self,
        name: str,
        network: nn.Module,
        variant: Variant,
        shape: tuple[int, ...],
        loss: nn.Module,
        optimizer: Callable[[Any], torch.optim.Optimizer],
        device: str,
    ) -> None:
        self.name, self.variant, self.device, self.loss = name, variant, device, loss
        self.original = network.train()
        self.network = variant.prepare(self.original, device)
        self.images = variant.images(shape, device)
        with torch.no_grad(), variant.context(device):
            self.classes = self._logits(self.network)[:1].shape[1]
        self.target = torch.randint(self.classes, (shape[0], *shape[2:])).to(device)
        self.optimizer = optimizer(self.network.parameters())

    def take(self) -> None:
        """Take the step."""
        self._backward(self.network)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _logits(self, network: nn.Module) -> torch.Tensor:
        logits = full_resolution_logits(network, self.images)
        size = self.images.shape[-2:]
        return logits if logits.shape[-2:] == size else F.interpolate(logits, size, mode="bilinear")

    def _backward(self, network: nn.Module) -> None:
        with self.variant.context(self.device):
            loss = self.loss(self._logits(network), self.target)
        loss.backward()

    def costs(self) -> Row:
        """Return the columns without times."""
        idle = reset_peak_memory(self.device)
        self.take()
        peak = peak_memory(self.device) - idle
        eager = Variant(self.variant.precision, self.variant.channels_last)  # compiled code is not counted
        network = eager.prepare(self.original, self.device) if self.variant.compile else self.network
        compute: Callable[[], object] = lambda: self._backward(network)  # noqa: E731
        row = {
            "name": self.name,
            **network_columns(self.original, self.variant),
            "classes": self.classes,
            "batch_size": len(self.images),
            "height": self.images.shape[2],
            "width": self.images.shape[3],
            "loss": type(self.loss).__name__,
            "optimizer": type(self.optimizer).__name__,
            "gflops": round(operations(compute) / 1e9, 3),
            "moved_mb": round(moved_bytes(network, compute, TRAINING) / 1e6, 1),
            "peak_memory_mb": round(peak / 1e6, 1),
        }
        self.optimizer.zero_grad()
        return row
