"""`refinenet benchmark data`: how fast samples are read, and whether the training step has to wait for them."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from jsonargparse.typing import NonNegativeInt, PositiveInt
from PIL import Image
from rich.console import Console
from rich.table import Table
from torchvision import tv_tensors
from torchvision.transforms import v2

from refinenet_pl.benchmarks.machine import measure_rates
from refinenet_pl.benchmarks.rows import Row, add_rows, duration, machine_columns, timing_columns
from refinenet_pl.benchmarks.timing import Timing, time_in_turn, warn_if_busy
from refinenet_pl.cli.benchmark_source import call, merged_experiment
from refinenet_pl.cli.benchmark_train import KEYS, benchmark_train
from refinenet_pl.cli.data_source import parse_data
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.dataset import SegmentationDataset
from refinenet_pl.data.decoded_cache import decoded_cache
from refinenet_pl.data.randomness import Draw
from refinenet_pl.progress import track

DESCRIPTION = """Measure the input of an experiment: reading single samples in this process, from files and, if the
experiment has a data.cache_dir, from the decoded cache, in turn with torchvision's ScaleJitter and RandomCrop; and
batches from the loader with different numbers of workers. If the files name a network, its training step is measured
too, and the last line says whether the device would wait for data."""
SAMPLES = 16
"""Number of samples that are read for one time."""


def run(name: str, args: list[str]) -> None:
    """Parse the options and measure."""
    parser = Parser(prog=f"refinenet {name}", description=DESCRIPTION)
    parser.add_argument("experiment", nargs="+", type=str, help="Experiment files, such as a dataset and a recipe.")
    parser.add_argument("--root", type=str | None, help="Folder of the dataset; by default the experiment's.")
    parser.add_argument(
        "--cache_dir", type=str | None, help="Folder of the decoded cache; by default the experiment's."
    )
    parser.add_argument(
        "--workers", type=list[NonNegativeInt], default=[0, 1, 2], help="Numbers of workers of the loader."
    )
    parser.add_argument("--repeats", type=PositiveInt, default=5, help="Timed runs of each row after a warm-up run.")
    parser.add_argument("--output", type=Path | None, help="CSV file to append the rows to.")
    options = parser.parse_args(args)
    config = merged_experiment(options.experiment)
    arguments = config.setdefault("data", {}).setdefault("init_args", {})
    arguments |= {key: options[key] for key in ("root", "cache_dir") if options[key] is not None}
    module = parse_data(config["data"])
    cache_dir, module.cache_dir = module.cache_dir, None
    module.prepare_data()
    busy = warn_if_busy()
    jitter = arguments.get("color_jitter", 0.0)
    rows = sample_rows(module, cache_dir, jitter, options.repeats) + loader_rows(
        module, options.workers, options.repeats
    )
    height, width = module.dataset("train")[0]["image"].shape[-2:]
    about = {"data": type(module).__name__, "crop_height": height, "crop_width": width}
    rows = [{**about, **row, **machine_columns("cpu", busy)} for row in rows]
    show(rows, f"input: {len(module.dataset('train'))} training samples of {type(module).__name__}")
    if "network" in config.get("model", {}):
        words = ["--experiment", *options.experiment, "--repeats", str(options.repeats)]
        (step,) = call(benchmark_train, f"refinenet {name}", words, KEYS)
        print(verdict(step["batch_size"] / step["seconds"], rows))
    if options.output is not None:
        add_rows(options.output, rows)


def sample_rows(module: SegmentationDataModule, cache_dir: Path | None, jitter: float, repeats: int) -> list[Row]:
    """Measure single samples in this process: decoding alone, augmented samples, a peer, and the cache."""
    dataset = module.dataset("train")
    size: Any = tuple(dataset[0]["image"].shape[-2:])
    readers: dict[str, Callable[[Draw], object]] = {
        "decode": dataset.read,
        "torchvision": torchvision_reader(dataset, size, jitter),
        "sample": dataset.__getitem__,
    }
    if cache_dir is not None:
        cached = SegmentationDataset(dataset.samples, len(module.classes), dataset.encoding, dataset.transform)
        cached.cache = decoded_cache(cache_dir, dataset)
        readers["sample from cache"] = cached.__getitem__
    draws = cycle([Draw(index, 0, epoch) for epoch in range(repeats + 1) for index in range(len(dataset))])
    parts = [[*islice(draws, SAMPLES)] for _ in range(repeats + 1)]
    pending = {name: iter(parts) for name in readers}

    def read_some(name: str) -> None:
        for draw in next(pending[name]):
            readers[name](draw)

    timings = time_in_turn({name: partial(read_some, name) for name in readers}, repeats, "cpu", "reading samples")
    floor = measure_rates("cpu", torch.float32).floor(0, 2 * SAMPLES * 4 * size[0] * size[1])
    return [_row(name, None, SAMPLES, timing, timings["torchvision"], floor) for name, timing in timings.items()]


def torchvision_reader(
    dataset: SegmentationDataset, crop_size: tuple[int, int], jitter: float
) -> Callable[[Draw], object]:
    """Return a function that reads a sample as users of torchvision's v2 do: scale the whole image, then crop."""
    last = v2.Compose([v2.RandomHorizontalFlip(), v2.ColorJitter(jitter, jitter, jitter)])

    def read(index: Draw) -> object:
        sample = dataset.samples[index]
        image = tv_tensors.Image(Image.open(str(sample.image)).convert("RGB"))
        mask = tv_tensors.Mask(torch.from_numpy(dataset.mask(index)))
        fill: Any = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE_INDEX}
        scale = v2.ScaleJitter(tuple(image.shape[-2:]), (0.5, 2.0))
        crop = v2.RandomCrop(crop_size, pad_if_needed=True, fill=fill)
        return last(*crop(*scale(image, mask)))

    return read


def loader_rows(module: SegmentationDataModule, workers: Sequence[int], repeats: int) -> list[Row]:
    """Measure the training loader with each number of workers, in turn: the time of a batch once they have started."""
    batches = max(2, SAMPLES // module.batch_size)
    seconds: dict[int, list[float]] = {number: [] for number in workers}
    with track(range(repeats), "loading batches") as rounds:
        for _ in rounds:
            for number in workers:
                seconds[number].append(_seconds_of_batches(module, number, batches))
    timings = {number: Timing(tuple(values)) for number, values in seconds.items()}
    reference = timings[workers[0]]
    images = batches * module.batch_size
    return [_row("loader", number, images, timing, reference, 0.0) for number, timing in timings.items()]


def _seconds_of_batches(module: SegmentationDataModule, workers: int, count: int) -> float:
    module.num_workers = workers
    loader = module.train_dataloader()
    # Batches that were read ahead while the workers started would make them look faster: those are taken first.
    skipped = 1 + workers * (loader.prefetch_factor or 0)
    batches = (batch for _ in cycle([0]) for batch in loader)
    for _ in islice(batches, skipped):
        pass
    start = time.perf_counter()
    for _ in islice(batches, count):
        pass
    return time.perf_counter() - start


def _row(name: str, workers: int | None, images: int, timing: Timing, reference: Timing, floor: float) -> Row:
    return {
        "name": name,
        "workers": workers,
        "images": images,
        "images_per_second": round(images / timing.median, 2),
        **timing_columns(timing, reference, floor),
    }


def show(rows: Sequence[Row], title: str) -> None:
    """Print the rows as a table."""
    table = Table("", title=title)
    for heading in ("workers", "images/s", "one image", "quartiles", "times faster"):
        table.add_column(heading, justify="right")
    for row in rows:
        one, low, high = (duration(row[key] / row["images"]) for key in ("seconds", "seconds_low", "seconds_high"))
        workers = "" if row["workers"] is None else str(row["workers"])
        rate = f"{row['images_per_second']:.1f}"
        table.add_row(row["name"], workers, rate, one, f"{low} to {high}", f"{row['times_faster']:.2f}")
    Console(markup=False).print(table)


def verdict(step: float, rows: Sequence[Row]) -> str:
    """Return whether the device would wait for data.

    Args:
        step: Images per second that the training step takes.
        rows: The rows of the loader.
    """
    loaders = [row for row in rows if row["workers"] is not None]
    enough = [row["workers"] for row in loaders if row["images_per_second"] >= step]
    if enough:
        return f"the step takes {step:.1f} images/s: {min(enough)} workers are enough"
    best = max(loaders, key=lambda row: row["images_per_second"])
    share = 1 - best["images_per_second"] / step
    return (
        f"the step takes {step:.1f} images/s, but {best['workers']} workers give {best['images_per_second']:.1f}: the "
        f"device would wait {100 * share:.0f} % of the time; use more workers or data.cache_dir"
    )
