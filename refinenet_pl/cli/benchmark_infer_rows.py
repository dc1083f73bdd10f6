"""The rows of `refinenet benchmark infer`: networks and exported files on images of one shape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import nn

from refinenet_pl.benchmarks.machine import measure_rates
from refinenet_pl.benchmarks.memory import reset_peak_memory
from refinenet_pl.benchmarks.rows import Row, csv_value
from refinenet_pl.benchmarks.work import FORWARD, moved_bytes, operations
from refinenet_pl.cli.benchmark_source import Variant, network_columns
from refinenet_pl.deployment.running import classes_of, load_exported
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import Inference, compute_logits
from refinenet_pl.evaluation.memory import peak_memory

WHOLE_IMAGE = Inference()
COLUMNS = (
    *("name", "network", "parameters", "variant", "precision", "channels_last", "compile", "classes"),
    *("batch_size", "height", "width", *(field.name for field in fields(Inference))),
    *("gflops", "moved_mb", "peak_memory_mb", "one_batch_alone_mb", "full_logits_mb"),
)
"""The columns without times."""


@dataclass(frozen=True)
class Subject:
    """A network with its inference.

    Attributes:
        network: The network.
        inference: Scales, flips and windows.
    """

    network: nn.Module
    inference: Inference = WHOLE_IMAGE


class MeasuredNetwork:
    """One row: a variant of a network on images of one shape."""

    def __init__(self, name: str, subject: Subject, variant: Variant, shape: Sequence[int], device: str) -> None:
        self.name, self.subject, self.variant, self.shape, self.device = name, subject, variant, shape, device
        self.network = variant.prepare(subject.network.eval(), device)
        self.images = variant.images(shape, device)

    def predict(self) -> None:
        """Predict the images; the classes arrive on the CPU."""
        with self.variant.context(self.device):
            self.subject.inference.predict(self.network, self.images).cpu()

    def floor(self, costs: Row) -> float:
        """Return the seconds that the device needs at least for these costs."""
        return measure_rates(self.device, self.variant.dtype).floor(1e9 * costs["gflops"], 1e6 * costs["moved_mb"])

    def costs(self) -> Row:
        """Return the columns without times."""
        count, _, height, width = self.shape
        try:  # once before memory is measured, because libraries allocate in the first call
            classes = run_one_batch(self.network, self.images, self.subject.inference)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.name}: cannot predict {count} x {height} x {width} pixels, {self.variant} ({error})"
            ) from error
        idle = reset_peak_memory(self.device)
        run_one_batch(self.network, self.images, self.subject.inference)
        batch_memory = peak_memory(self.device) - idle
        self.predict()
        peak = peak_memory(self.device) - idle
        eager = Variant(
            self.variant.precision, self.variant.channels_last
        )  # hooks and counters do not see compiled code
        network = eager.prepare(self.subject.network, self.device) if self.variant.compile else self.network
        compute: Callable[[], object] = lambda: self.subject.inference.predict(network, self.images)  # noqa: E731
        return {
            "name": self.name,
            **network_columns(self.subject.network, self.variant),
            "classes": classes,
            "batch_size": count,
            "height": height,
            "width": width,
            **{key: csv_value(value) for key, value in vars(self.subject.inference).items()},
            "gflops": round(operations(compute) / 1e9, 3),
            "moved_mb": round(moved_bytes(network, compute, FORWARD) / 1e6, 1),
            "peak_memory_mb": round(peak / 1e6, 1),
            "one_batch_alone_mb": round(batch_memory / 1e6, 1),
            "full_logits_mb": round(4 * count * classes * height * width / 1e6, 1),
        }


class MeasuredFile:
    """One row: an exported file on images of one shape. Its operations are unknown, and so is its floor."""

    device = "cpu"

    def __init__(self, path: Path, shape: Sequence[int]) -> None:
        self.path = path
        self.exported = load_exported(path)
        self.images = torch.randint(256, tuple(shape), dtype=torch.uint8)

    def predict(self) -> torch.Tensor:
        """Return the classes of the images."""
        return classes_of(self.exported(self.images))

    def floor(self, costs: Row) -> None:
        """Return None: unknown."""

    def costs(self) -> Row:
        """Return the columns without times."""
        self.predict()  # once before memory is measured, because libraries allocate in the first call
        idle = reset_peak_memory(self.device)
        self.predict()
        peak = peak_memory(self.device) - idle
        columns = dict.fromkeys(COLUMNS)
        count, _, height, width = self.images.shape
        size = {"batch_size": count, "height": height, "width": width, "classes": len(self.exported.class_names)}
        about = {"name": self.path.name, "network": "exported", "variant": self.path.suffix[1:]}
        return {**columns, **about, **size, "peak_memory_mb": round(peak / 1e6, 1)}


@torch.no_grad()
def run_one_batch(network: nn.Module, images: torch.Tensor, inference: Inference) -> int:
    """Run one batch of windows, or the whole images, at the largest scale; return the number of classes."""
    largest = max(inference.scales)
    height, width = (round(side * largest) for side in images.shape[2:])
    count = len(images)
    if inference.window_size:
        height, width = min(height, inference.window_size[0]), min(width, inference.window_size[1])
        count *= inference.windows_per_batch
    batch = torch.randn(count, 3, height, width).to(images)
    return compute_logits(network, batch).shape[1]
