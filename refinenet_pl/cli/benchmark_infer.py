"""`refinenet benchmark infer`: time, memory and operations of inference, beside other networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import refinenet_pl.networks  # noqa: F401  (so that --network can name its classes without their modules)
from refinenet_pl.benchmarks.machine import measure_rates
from refinenet_pl.benchmarks.memory import reset_peak_memory
from refinenet_pl.benchmarks.peers import make_peer, peer_name
from refinenet_pl.benchmarks.rows import Row, add_rows, csv_value, machine_columns, show, timing_columns
from refinenet_pl.benchmarks.timing import time_in_turn, warn_if_busy
from refinenet_pl.benchmarks.work import FORWARD, moved_bytes, operations
from refinenet_pl.cli.benchmark_source import Precision, Variant, call, existing, network_columns, variants
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import Inference, compute_logits
from refinenet_pl.evaluation.memory import peak_memory
from refinenet_pl.weights.loading import load

WHOLE_IMAGE = Inference()


@dataclass(frozen=True)
class Subject:
    """A network with its inference.

    Attributes:
        network: The network.
        inference: Scales, flips and windows.
    """

    network: nn.Module
    inference: Inference = WHOLE_IMAGE


def run(name: str, args: list[str]) -> None:
    """Parse the options and measure."""
    call(benchmark_infer, f"refinenet {name}", args, {"network": "model.network", "inference": "model.inference"})


def benchmark_infer(
    network: nn.Module | None = None,
    networks: dict[str, Subject] = {},  # noqa: B006  (not changed)
    ckpt_path: list[Path] = [],  # noqa: B006
    against: list[str] = [],  # noqa: B006
    size: tuple[int, int] = (1024, 2048),
    batch_size: int = 1,
    inference: Inference = WHOLE_IMAGE,
    precision: list[Precision] = ["32-true"],  # noqa: B006
    channels_last: list[bool] = [True],  # noqa: B006
    compile: list[bool] = [False],  # noqa: B006
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    repeats: int = 5,
    output: Path | None = None,
) -> None:
    """Measure inference: networks, checkpoints and their variants, in turn.

    The time is from normalized images on the device to their class indices on the CPU. The weights of networks are
    random. `gflops` counts the operations of all convolutions and matrix products of one inference, over all its
    views, in 1e9; a multiplication and an addition are two. `floor_seconds` is what this machine needs at least: the
    operations at the measured rate of matrix products and convolutions, or moving the output of each layer at the
    rate of a copy, whichever takes longer. `times_faster` compares with the first peer, or else with the first row.

    Args:
        network: Class and arguments of a network.
        networks: Several networks by name, each with `network` and `inference`; in a yaml file of --config.
        ckpt_path: Checkpoints, run folders or weights folders. They bring their own inference.
        against: Networks of other packages in float32 and the contiguous layout, as a user would call them, such as
            "segmentation_models_pytorch.FPN('resnet50', encoder_weights=None, classes=19)".
        size: Height and width of the images, in pixels.
        batch_size: Number of images in one inference.
        inference: Scales, flips and windows of `network` and of the peers.
        precision: 32-true, bf16-true, 16-true, bf16-mixed or 16-mixed; each value is measured.
        channels_last: Memory layout; each value is measured.
        compile: Compile with torch.compile; each value is measured.
        device: "cpu", "cuda", or another device of torch.
        repeats: Number of timed runs of each row after one warm-up run. Median and quartiles are reported.
        output: CSV file to append the rows to.
    """
    if min(*size, batch_size, repeats) < 1:
        raise UserError(f"size {list(size)}, batch_size {batch_size}, repeats {repeats}: expected 1 or more")
    torch.manual_seed(0)
    busy = warn_if_busy()
    shape = (batch_size, 3, *size)
    subjects = _subjects(network, networks, ckpt_path, inference)
    measured = [
        Measured(name, subject, variant, shape, device)
        for name, subject in subjects.items()
        for variant in variants(precision, channels_last, compile)
    ]
    plain = Variant(channels_last=False)
    peers = [Measured(peer_name(call), Subject(make_peer(call), inference), plain, shape, device) for call in against]
    rows = [item.costs() for item in (*measured, *peers)]
    tasks = {str(index): item.predict for index, item in enumerate((*measured, *peers))}
    timings = [*time_in_turn(tasks, repeats, device).values()]
    reference = timings[len(measured) if peers else 0]
    for item, row, timing in zip((*measured, *peers), rows, timings, strict=True):
        floor = measure_rates(device, item.variant.dtype).floor(1e9 * row["gflops"], 1e6 * row["moved_mb"])
        row |= timing_columns(timing, reference, floor) | machine_columns(device, busy)
    images = "image" if batch_size == 1 else "images"
    show(rows, f"inference of {batch_size} {images} of {size[0]} x {size[1]} pixels")
    if output is not None:
        add_rows(output, rows)


class Measured:
    """One row: a variant of a network on images of one shape."""

    def __init__(self, name: str, subject: Subject, variant: Variant, shape: Sequence[int], device: str) -> None:
        self.name, self.subject, self.variant, self.shape, self.device = name, subject, variant, shape, device
        self.network = variant.prepare(subject.network.eval(), device)
        self.images = variant.images(shape, device)

    def predict(self) -> None:
        """Predict the images; the classes arrive on the CPU."""
        with self.variant.context(self.device):
            self.subject.inference.predict(self.network, self.images).cpu()

    def costs(self) -> Row:
        """Return the columns without times."""
        count, _, height, width = self.shape
        idle = reset_peak_memory(self.device)
        try:
            classes = run_one_batch(self.network, self.images, self.subject.inference)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.name}: cannot predict {count} x {height} x {width} pixels, {self.variant} ({error})"
            ) from error
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


def _subjects(
    network: nn.Module | None, networks: Mapping[str, Subject], paths: list[Path], inference: Inference
) -> dict[str, Subject]:
    existing(paths)
    segmenters = {str(path): load(path) for path in paths}
    found = {
        **({} if network is None else {type(network).__name__: Subject(network, inference)}),
        **networks,
        **{name: Subject(segmenter.network, segmenter.inference) for name, segmenter in segmenters.items()},
    }
    if not found:
        raise UserError("expected something to measure: --network, --experiment, --ckpt_path or --networks")
    return found


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
