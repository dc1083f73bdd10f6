"""What the tests of training look through: callbacks that note what happens, and comparisons of weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from helpers.tiny_fit import (
    CLASSES,
    TinyData,
    count_by_hand,
    tiny_trainer,
)
from refinenet_pl.training.task import BATCH_NORMS, SegmentationTask


class Rates(pl.Callback):
    """Notes the learning rates of every optimizer step."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([group["lr"] for group in optimizer.param_groups])


class Losses(pl.Callback):
    """Notes the loss of every training batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(float(outputs["loss"]))


class Validations(pl.Callback):
    """Notes the predicted and true labels of every validation, and the figures that were logged for it."""

    def __init__(self) -> None:
        self.pairs: list[list[tuple[np.ndarray, np.ndarray]]] = []
        self.logged: list[dict[str, float]] = []
        self.left_by_sanity_check: dict[str, Tensor] = {}

    def on_train_start(self, trainer, pl_module):
        self.left_by_sanity_check = dict(trainer.callback_metrics)

    def on_validation_start(self, trainer, pl_module):
        self.pairs.append([])

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.pairs[-1].append((outputs.numpy(), batch["mask"].numpy()))

    def on_validation_end(self, trainer, pl_module):
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    def matrix(self, validation: int) -> np.ndarray:
        return count_by_hand(self.pairs[validation], len(CLASSES))


def encoder_norms(task: SegmentationTask) -> list[Any]:
    modules = task.network.named_modules()
    return [module for name, module in modules if name.startswith("encoder.") and isinstance(module, BATCH_NORMS)]


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested dicts and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def adamw(parameters: Any, fused: bool = False) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-3, fused=fused)


def losses_of(folder: Path, task: SegmentationTask, **options: Any) -> list[float]:
    losses = Losses()
    trainer = tiny_trainer(folder, callbacks=[losses], limit_val_batches=0, **options)
    trainer.fit(task, datamodule=TinyData())
    return losses.seen


def predicted(task: SegmentationTask, sample: dict[str, Any]) -> np.ndarray:
    """What the task, as it is now, says of a sample."""
    task.eval()
    with torch.no_grad():
        return task(sample["image"][None])[0].argmax(0).numpy()
