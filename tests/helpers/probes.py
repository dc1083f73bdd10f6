"""Callbacks that record what a fit does, and functions that compare weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from helpers.tiny_fit import CLASSES, TinyData, count_by_hand, tiny_trainer
from refinenet_pl.training.task import SegmentationTask


class Rates(pl.Callback):
    """Records the learning rates of each optimizer step."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([group["lr"] for group in optimizer.param_groups])


class Losses(pl.Callback):
    """Records the loss of each training batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(float(outputs["loss"]))


class Validations(pl.Callback):
    """Records predictions, targets and logged metrics of each validation."""

    def __init__(self) -> None:
        self.pairs: list[list[tuple[np.ndarray, np.ndarray]]] = []
        self.logged: list[dict[str, float]] = []
        self.logged_by_sanity_check: dict[str, Tensor] = {}

    def on_train_start(self, trainer, pl_module):
        self.logged_by_sanity_check = dict(trainer.callback_metrics)

    def on_validation_start(self, trainer, pl_module):
        self.pairs.append([])

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        for prediction, sample in zip(outputs["predictions"], batch, strict=True):
            self.pairs[-1].append((prediction.numpy(), sample["mask"].numpy()))

    def on_validation_end(self, trainer, pl_module):
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    def matrix(self, validation: int) -> np.ndarray:
        return count_by_hand(self.pairs[validation], len(CLASSES))


def encoder_norms(task: SegmentationTask) -> list[Any]:
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
    return [
        norm for name, norm in task.network.named_modules() if name.startswith("encoder.") and isinstance(norm, kinds)
    ]


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield every tensor in nested dicts and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def adamw(parameters: Any, fused: bool = False) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-3, fused=fused)


def fit_losses(folder: Path, task: SegmentationTask, **options: Any) -> list[float]:
    """Fit without validation, and return the loss of each batch."""
    losses = Losses()
    trainer = tiny_trainer(folder, callbacks=[losses], limit_val_batches=0, **options)
    trainer.fit(task, datamodule=TinyData())
    return losses.seen


def predict(task: SegmentationTask, sample: dict[str, Any]) -> np.ndarray:
    """Predict a sample with the current weights."""
    task.eval()
    with torch.no_grad():
        return task(sample["image"][None])[0].argmax(0).numpy()
