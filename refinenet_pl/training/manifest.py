"""The manifest: what a training's figures depend on, written when it starts."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

import refinenet_pl
from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.data.fingerprint import fingerprint
from refinenet_pl.files import write_json
from refinenet_pl.runs import RunFolder

PACKAGES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "segmentation-models-pytorch",
    "timm",
    "torchmetrics",
    "numpy",
    "pillow",
)


class ManifestWriter(Callback):
    """Writes `manifest.json` to the trainer's `default_root_dir` when a training starts. A resumed run keeps its own.

    Args:
        config: Configuration of the run.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file."""
        file = RunFolder(Path(trainer.default_root_dir)).manifest
        if trainer.is_global_zero and (trainer.global_step == 0 or not file.is_file()):
            content = {
                "code": source_code(),
                "packages": packages(),
                "machine": machine(trainer),
                "numerics": numerics(trainer),
                "data": data(trainer.datamodule),  # type: ignore[attr-defined]
                "config": self.config,
            }
            write_json(file, content)


def source_code() -> dict[str, Any]:
    """Return the version of this package's code: see `code`."""
    return code(Path(refinenet_pl.__file__).parent)


def code(package: Path) -> dict[str, Any]:
    """Return the version of the code: git's commit, whether files differ from it, and a hash of the sources.

    Args:
        package: Folder of the package. If git does not track it, commit and "dirty" are None.
    """
    sources = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        sources.update(str(file.relative_to(package)).encode() + file.read_bytes())
    commit = git(package, "rev-parse", "HEAD") if git(package, "ls-files", "__init__.py") else None
    dirty = None if commit is None else bool(git(package, "status", "--porcelain", "--", "."))
    return {"commit": commit, "dirty": dirty, "sources": sources.hexdigest()[:16]}


def git(folder: Path, *args: str) -> str | None:
    """Return what a git command prints; None if git is missing or fails."""
    try:
        # The option keeps git from locking a repository that another process uses.
        command = ["git", "--no-optional-locks", "-C", str(folder), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def packages() -> dict[str, str]:
    """Return the versions of Python and the packages."""
    versions = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "refinenet-pl": refinenet_pl.__version__, **versions}


def machine(trainer: pl.Trainer) -> dict[str, Any]:
    """Return the processor, the devices and the threads."""
    device = trainer.strategy.root_device
    cuda = device.type == "cuda"
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "world_size": trainer.world_size,
        "threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
    }


def numerics(trainer: pl.Trainer) -> dict[str, Any]:
    """Return precision and determinism as they are in force."""
    return {
        "seed": os.environ.get("PL_GLOBAL_SEED"),
        "precision": str(trainer.precision),
        "float32_matmul": torch.get_float32_matmul_precision(),
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def data(datamodule: SegmentationDataModule) -> dict[str, Any]:
    """Return the fingerprints of the splits that a training uses."""
    return {split: fingerprint(datamodule.dataset(split).samples) for split in ("train", "val")}
