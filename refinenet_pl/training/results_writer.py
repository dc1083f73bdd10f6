"""What an evaluation leaves in its run folder: all metrics, the matrix of each image, and a printed table."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torchvision
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from torch import Tensor, distributed

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.evaluation.boundary import BoundaryIoU, TrimapIoU
from refinenet_pl.evaluation.error_parts import error_parts
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import (
    results_table,
    summarize,
    summarize_boundaries,
    summarize_errors,
    summarize_intervals,
)
from refinenet_pl.files import write_json
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.manifest import source_code
from refinenet_pl.training.task import SegmentationTask
from refinenet_pl.version import __version__


class ResultsWriter(Callback):
    """Writes and prints the metrics of each validation and test, except validations within `fit`.

    It writes `results.json` and `per_image.npz` to the trainer's `default_root_dir`.

    Args:
        config: Configuration of the run, which `results.json` includes. Without one, `results.json` has no "config",
            and its "seed" is that of `seed_everything`, or null.
        command: The command, which `results.json` includes; null if there is none.
    """

    images: ImageMatrices
    boundary: BoundaryIoU
    trimap: TrimapIoU

    def __init__(self, config: Mapping[str, Any] | None = None, command: str | None = None) -> None:
        self.config = config
        self.command = command
        self.step: int | None = None
        self.started = time.perf_counter()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the step of the checkpoint that is evaluated."""
        self.step = checkpoint.get("global_step")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Reset the counts."""
        self._reset(pl_module)

    def on_test_start(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Reset the counts."""
        self._reset(pl_module)

    def _reset(self, task: SegmentationTask) -> None:
        class_names = task.preprocessing.class_names
        self.images = ImageMatrices(class_names)
        self.boundary = BoundaryIoU(len(class_names), IGNORE_INDEX).to(task.device)
        self.trimap = TrimapIoU(len(class_names), IGNORE_INDEX).to(task.device)

    def on_validation_batch_end(  # type: ignore[override]
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: dict[str, list[Tensor]],
        batch: list[dict[str, Any]],
        *_: Any,
    ) -> None:
        """Count the images, except within `fit`."""
        if trainer.state.fn == "validate":
            self._count(trainer, outputs, batch)

    def on_test_batch_end(  # type: ignore[override]
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: dict[str, list[Tensor]],
        batch: list[dict[str, Any]],
        *_: Any,
    ) -> None:
        """Count the images."""
        self._count(trainer, outputs, batch)

    def _count(self, trainer: pl.Trainer, outputs: dict[str, list[Tensor]], samples: list[dict[str, Any]]) -> None:
        results = zip(samples, outputs["predictions"], outputs["confusion_matrices"], strict=True)
        group_of: Callable[[str], str] = getattr(trainer.datamodule, "group_of", lambda name: "")  # type: ignore[attr-defined]
        for sample, prediction, matrix in results:
            name, target = sample["name"], sample["mask"].cpu().numpy()
            parts = error_parts(prediction.cpu().numpy(), target, len(self.images.class_names))
            self.images.add(name, matrix.cpu(), target, group_of(name), parts)
            self.boundary.update(prediction, sample["mask"])
            self.trimap.update(prediction, sample["mask"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Write the metrics, except within `fit`."""
        if trainer.state.fn == "validate":
            self._write(trainer, pl_module, "val")

    def on_test_end(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Write the metrics."""
        self._write(trainer, pl_module, "test")

    def _write(self, trainer: pl.Trainer, task: SegmentationTask, split: str) -> None:
        images = gather(self.images)
        class_names = images.class_names
        boundaries = summarize_boundaries(self.boundary, self.trimap, class_names)  # sums over all ranks
        if not trainer.is_global_zero:
            return
        results = {
            "split": split,
            **summarize(torch.from_numpy(images.total()), class_names),
            **boundaries,
            "intervals": summarize_intervals(images),
            "error_parts": summarize_errors(images),
            "images": len(images.names),
            "fingerprint": images.fingerprint(),
            "skipped": getattr(trainer.datamodule, "skipped", []),  # type: ignore[attr-defined]
            "seed": global_seed() if self.config is None else self.config["seed_everything"],
            "seconds": round(time.perf_counter() - self.started, 1),
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "origin": self._origin(trainer, task),
            **({} if self.config is None else {"config": self.config}),
        }
        run = RunFolder(Path(trainer.default_root_dir))
        images.save(run.per_image)
        write_json(run.results, results)
        Console().print(results_table(results, f"{split}: {results['images']} images"))

    def _origin(self, trainer: pl.Trainer, task: SegmentationTask) -> dict[str, Any]:
        """Return what was evaluated, by which command and code, and how."""
        path = trainer.ckpt_path or (self.config or {}).get("ckpt_path")  # Lightning does not know a weights folder
        return {
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": self.command,
            "code": source_code(),
            "checkpoint": {"path": None if path is None else str(path), "step": path and self.step},
            "inference": asdict(task.segmenter.inference),
        }


def gather(images: ImageMatrices) -> ImageMatrices:
    """Return the images of all processes. Every process must call it."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return images
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, images)
    merged = ImageMatrices(images.class_names)
    for part in parts:
        merged.merge(part)
    return merged


def global_seed() -> int | None:
    """Return the seed that `seed_everything` set in this process; None if it was not called."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return None if seed is None else int(seed)


def versions() -> dict[str, str]:
    """Return the versions of Python and the libraries, and the device."""
    return {
        "python": platform.python_version(),
        "refinenet_pl": __version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pytorch_lightning": pl.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU",
    }
