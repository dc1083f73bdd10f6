"""`refinenet doctor`: what this machine has and can do, and what is wrong with it."""

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import NamedTuple

import torch
import torch.nn.functional as F
import wandb
from huggingface_hub import constants
from packaging.requirements import Requirement

import refinenet_pl
from refinenet_pl.benchmarks.timing import is_busy, wait_for
from refinenet_pl.cli.parser import Parser
from refinenet_pl.data.parallel import usable_cpus
from refinenet_pl.networks import LightWeightRefineNet
from refinenet_pl.progress import track
from refinenet_pl.servers import answers
from refinenet_pl.text import join
from refinenet_pl.training.cpu_precision import SLOWER, bf16_slowdown
from refinenet_pl.training.losses import CrossEntropy
from refinenet_pl.training.manifest import code, packages
from refinenet_pl.training.threads import fastest_threads, measure_threads

WIDTH = 110
SECONDS = 10.0
"""Length of the measurement of a training."""
CROP = (4, 3, 256, 256)
GB = 2**30
LEAST_DISK, LEAST_SHARED_MEMORY, LEAST_FILES = 5 * GB, GB, 1024


class Section(NamedTuple):
    """What the command prints about one subject.

    Attributes:
        text: What was found.
        faults: What stops a training, with what to do.
        advice: What slows a training down or limits it, with what to do.
    """

    text: str
    faults: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def run(name: str, args: list[str]) -> int:
    """Print all sections.

    Returns:
        1 if something would stop a training, else 0.
    """
    parser = Parser(
        prog=f"refinenet {name}",
        description="Print versions, devices and speed of this machine, and what is wrong with it (half a minute).",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="Folder of all runs, whose disk is checked.")
    options = parser.parse_args(args)
    sections: dict[str, Callable[[], Section]] = {
        "versions": versions,
        "machine": machine,
        "devices": devices,
        "precision": precision,
        "threads": threads,
        "training": throughput,
        "W&B": tracking,
        "hub": hub,
        "disk": lambda: disk(options.runs),
    }
    faults: list[str] = []
    advice: list[str] = []
    for title, section in sections.items():
        found = section()
        print(fill(f"{title + ':':<11} {found.text}", WIDTH, subsequent_indent=12 * " "))
        faults += found.faults
        advice += found.advice
    for title, lines in (("wrong", faults), ("advice", advice)):
        for index, line in enumerate(lines or ["nothing"]):
            print(f"{title + ':' if index == 0 else '':<11} {line}")
    return 1 if faults else 0


def versions() -> Section:
    """Return the versions of the code and its packages; packages that are too old or missing are faults."""
    source = code(Path(refinenet_pl.__file__).parent)
    commit = f" (commit {source['commit'][:10]}{', modified' if source['dirty'] else ''})" if source["commit"] else ""
    found = packages()
    own = found.pop("refinenet-pl")
    return Section(
        f"refinenet-pl {own}{commit}, {join(f'{name} {number}' for name, number in found.items())}",
        tuple(unsuitable_packages()),
    )


def unsuitable_packages() -> Iterator[str]:
    """Yield a line for each package that this one needs in another version."""
    for text in requires("refinenet-pl") or []:
        needed = Requirement(text)
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(needed.name)
        except PackageNotFoundError:
            found = "no version"
        if found == "no version" or not needed.specifier.contains(found, prereleases=True):
            yield f"{needed.name}: found {found}, expected {needed.specifier}; pip install '{needed}'"


def machine() -> Section:
    """Return processor, load and memory."""
    cpus, load = usable_cpus(), os.getloadavg()[0]
    shared = Path("/dev/shm")
    advice = []
    if is_busy():
        advice.append(f"the machine is busy (load {load:.1f} on {cpus} CPUs): trainings and measurements are slower")
    if shared.is_dir() and shutil.disk_usage(shared).total < LEAST_SHARED_MEMORY:
        advice.append(f"{shared} has less than 1 GB: use data.num_workers 0, or give the container more (--shm-size)")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    instructions = torch.backends.cpu.get_cpu_capability()
    text = (
        f"{platform.system()} {platform.machine()}, {cpus} CPUs ({instructions}), load {load:.1f}, {_gb(memory)} memory"
    )
    return Section(text, advice=tuple(advice))


def devices() -> Section:
    """Return the GPUs; one that PyTorch cannot use is a fault."""
    count = torch.cuda.device_count()
    names = [torch.cuda.get_device_properties(index) for index in range(count)]
    texts = [f"cuda:{index} {each.name} ({_gb(each.total_memory)})" for index, each in enumerate(names)]
    if torch.backends.mps.is_available():
        texts.append("mps")
    if count == 0 and shutil.which("nvidia-smi"):
        built = torch.version.cuda
        reason = f"PyTorch is built for CUDA {built}: is the driver older?" if built else "PyTorch is a build for CPUs"
        return Section("cpu", (f"nvidia-smi is here, but PyTorch finds no GPU; {reason}",))
    return Section(join(texts) or "cpu")


def precision() -> Section:
    """Return how fast bf16 is beside float32; on a GPU, all precisions of the recipes are fast."""
    if torch.cuda.is_available():
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
        advice = () if supported else ("this GPU has no bf16: use --trainer.precision=16-mixed",)
        return Section("bf16-mixed, 16-mixed, 32-true" if supported else "16-mixed, 32-true", advice=advice)
    ratio = bf16_slowdown()
    slow = ratio > SLOWER
    text = f"bf16 takes {ratio:.2f} times as long as float32 in a convolution on this CPU"
    return Section(text, advice=("bf16 is slow here: use --trainer.precision=32-true",) if slow else ())


def threads() -> Section:
    """Return the speed of the CPU with one and with more threads."""
    seconds = measure_threads(usable_cpus())
    times = join(f"{number}: {1000 * each:.0f} ms" for number, each in seconds.items())
    number = os.environ.get("OMP_NUM_THREADS")
    setting = f"; OMP_NUM_THREADS is {number}" if number else ""
    return Section(f"{times} for a short training step; a run on the CPU takes {fastest_threads(seconds)}{setting}")


def throughput() -> Section:
    """Measure a training on random images, for some seconds."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network = LightWeightRefineNet("mobilenet_v2", encoder_weights=None, classes=21)
    network = network.to(device, memory_format=torch.channels_last)
    optimizer, loss = torch.optim.SGD(network.parameters(), lr=0.01), CrossEntropy()
    images = torch.randn(CROP, device=device).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(21, (CROP[0], *CROP[2:]), device=device)
    seconds: list[float] = []
    with track(iter(lambda: sum(seconds) < SECONDS, False), "measuring a training") as steps:
        for _ in steps:
            start = time.perf_counter()
            logits = F.interpolate(network(images), size=CROP[2:], mode="bilinear", align_corners=False)
            loss(logits, targets).backward()
            optimizer.step()
            optimizer.zero_grad()
            wait_for(device)
            seconds.append(time.perf_counter() - start)
    rate = CROP[0] / median(seconds[1:] or seconds)
    size = f"{CROP[0]} x {CROP[2]} x {CROP[3]}"
    return Section(f"{rate:.1f} images/s, Light-Weight RefineNet with MobileNet-v2, {size}, float32, on {device}")


def tracking() -> Section:
    """Return whether runs go to W&B's server."""
    settings = wandb.setup().settings
    mode = os.environ.get("WANDB_MODE", settings.mode)
    if mode != "online":
        return Section(f"wandb {wandb.__version__}, {mode}")
    if not wandb.login(prompt=False, verify=False):
        return Section(f"wandb {wandb.__version__}, not logged in", advice=("W&B stays offline: run wandb login",))
    if not answers(settings.base_url):
        return Section(f"logged in, but {settings.base_url} does not answer", advice=("W&B stays offline",))
    return Section(f"wandb {wandb.__version__}, logged in to {settings.base_url}")


def hub() -> Section:
    """Return whether encoder weights can be downloaded."""
    if constants.HF_HUB_OFFLINE or not answers(constants.ENDPOINT):
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} does not answer"
        advice = "ImageNet weights that are not in the cache need a file: --model.network.encoder_weights FILE"
        return Section(f"{reason}; cache: {constants.HF_HUB_CACHE}", advice=(advice,))
    return Section(f"{constants.ENDPOINT} answers; cache: {constants.HF_HUB_CACHE}")


def disk(runs: Path) -> Section:
    """Return the free space for runs, and whether their folder can be written."""
    place = next(folder for folder in (runs.resolve(), *runs.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    faults = [] if os.access(place, os.W_OK) else [f"{place} cannot be written: give another folder with --runs"]
    few = free < LEAST_DISK
    room = "a run keeps two checkpoints, each up to four times as large as its weights"
    advice = (f"{place} has {_gb(free)} free; {room}",) if few else ()
    return Section(f"{_gb(free)} free for {runs}", tuple(faults), advice)


def _gb(size: float) -> str:
    return f"{size / GB:.1f} GB"
