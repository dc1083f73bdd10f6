"""`refinenet benchmark infer`: time, memory and operations of inference, beside other networks."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

import refinenet_pl.networks  # noqa: F401  (so that --network can name its classes without their modules)
from refinenet_pl.benchmarks.peers import make_peer, peer_name
from refinenet_pl.benchmarks.rows import add_rows, machine_columns, show, timing_columns
from refinenet_pl.benchmarks.timing import time_in_turn, warn_if_busy
from refinenet_pl.cli.benchmark_infer_rows import WHOLE_IMAGE, MeasuredFile, MeasuredNetwork, Subject
from refinenet_pl.cli.benchmark_source import Precision, Variant, call, existing, variants
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.weights.loading import load


def run(name: str, args: list[str]) -> None:
    """Parse the options and measure."""
    call(benchmark_infer, f"refinenet {name}", args, {"network": "model.network", "inference": "model.inference"})


def benchmark_infer(
    network: nn.Module | None = None,
    networks: dict[str, Subject] = {},  # noqa: B006  (not changed)
    ckpt_path: list[Path] = [],  # noqa: B006
    exported: list[Path] = [],  # noqa: B006
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
        exported: Files that `refinenet export` wrote. They take uint8 images and run on the CPU.
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
    if not subjects and not exported:
        raise UserError("expected something to measure: --network, --experiment, --ckpt_path, --networks or --exported")
    measured = [
        MeasuredNetwork(name, subject, variant, shape, device)
        for name, subject in subjects.items()
        for variant in variants(precision, channels_last, compile)
    ]
    plain = Variant(channels_last=False)
    peers = [
        MeasuredNetwork(peer_name(call), Subject(make_peer(call), inference), plain, shape, device) for call in against
    ]
    files = [MeasuredFile(path, shape) for path in exported]
    everything: list[MeasuredNetwork | MeasuredFile] = [*measured, *files, *peers]
    rows = [item.costs() for item in everything]
    tasks = {str(index): item.predict for index, item in enumerate(everything)}
    timings = [*time_in_turn(tasks, repeats, device).values()]
    reference = timings[-len(peers)]  # without peers the first row
    for item, row, timing in zip(everything, rows, timings, strict=True):
        row |= timing_columns(timing, reference, item.floor(row)) | machine_columns(item.device, busy)
    images = "image" if batch_size == 1 else "images"
    show(rows, f"inference of {batch_size} {images} of {size[0]} x {size[1]} pixels")
    if output is not None:
        add_rows(output, rows)


def _subjects(
    network: nn.Module | None, networks: Mapping[str, Subject], paths: list[Path], inference: Inference
) -> dict[str, Subject]:
    existing(paths)
    segmenters = {str(path): load(path) for path in paths}
    return {
        **({} if network is None else {type(network).__name__: Subject(network, inference)}),
        **networks,
        **{name: Subject(segmenter.network, segmenter.inference) for name, segmenter in segmenters.items()},
    }
