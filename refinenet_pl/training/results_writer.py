"""What an evaluation leaves in its run folder: `results.json`, `per_image.npz`, and the printed table."""

import platform
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torchvision
import yaml
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from torch import Tensor, distributed

import refinenet_pl
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.evaluation.boundary import BoundaryIoU, TrimapIoU
from refinenet_pl.evaluation.confusion import confusion_matrix
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import results_table, summarize, summarize_boundaries, summarize_intervals
from refinenet_pl.files import write_json
from refinenet_pl.training.task import SegmentationTask


class ResultsWriter(Callback):
    """Scores every image of a whole validation or test (not within `fit`); writes and prints the figures at its end."""

    images: ImageMatrices
    boundary: BoundaryIoU
    trimap: TrimapIoU

    def __init__(self) -> None:
        self.started = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Count from zero."""
        self._start(pl_module)

    def on_test_start(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Count from zero."""
        self._start(pl_module)

    def _start(self, task: SegmentationTask) -> None:
        self.images = ImageMatrices(task.class_names)
        self.boundary = BoundaryIoU(len(task.class_names), IGNORE_INDEX).to(task.device)
        self.trimap = TrimapIoU(len(task.class_names), IGNORE_INDEX).to(task.device)

    def on_validation_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Tensor, batch: dict[str, Any], *_: Any
    ) -> None:
        """Count one image, if this is no validation within `fit`."""
        if trainer.state.fn == "validate":
            self._count(outputs, batch)

    def on_test_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Tensor, batch: dict[str, Any], *_: Any
    ) -> None:
        """Count one image."""
        self._count(outputs, batch)

    def _count(self, predicted: Tensor, sample: dict[str, Any]) -> None:
        truth = sample["mask"]
        matrix = confusion_matrix(predicted, truth, len(self.images.class_names), IGNORE_INDEX)
        self.images.add(sample["name"], matrix.cpu())
        self.boundary.update(predicted, truth)
        self.trimap.update(predicted, truth)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Write, if this was no validation within `fit`."""
        if trainer.state.fn == "validate":
            self._write(trainer, "val")

    def on_test_end(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Write."""
        self._write(trainer, "test")

    def _write(self, trainer: pl.Trainer, split: str) -> None:
        images = gathered(self.images)
        class_names = images.class_names
        boundaries = summarize_boundaries(self.boundary, self.trimap, class_names)  # every rank takes part in the sums
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        results = {
            "split": split,
            **summarize(torch.from_numpy(images.total()), class_names),
            **boundaries,
            "intervals": summarize_intervals(images),
            "images": len(images.names),
            "seed": config["seed_everything"],
            "seconds": round(time.perf_counter() - self.started, 1),
            "versions": versions(),
            "config": config,
        }
        images.save(folder / "per_image.npz")
        write_json(folder / "results.json", results)
        Console().print(results_table(results, f"{split}: {results['images']} images"))


def gathered(images: ImageMatrices) -> ImageMatrices:
    """The images of all processes; every process must call it."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return images
    parts: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, images)
    merged = ImageMatrices(images.class_names)
    for part in parts:
        merged.merge(part)
    return merged


def versions() -> dict[str, str]:
    """What the figures were made with."""
    return {
        "python": platform.python_version(),
        "refinenet_pl": refinenet_pl.__version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pytorch_lightning": pl.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU",
    }
