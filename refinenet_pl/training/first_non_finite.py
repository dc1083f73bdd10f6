"""Finds the first non-finite value of a training step: by module in the forward and the backward pass."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer

from refinenet_pl.text import join


class FirstNonFinite(Callback):
    """Records the first module whose output is not finite, the loss, and gradients that are not finite.

    Attributes:
        found: Whether anything was not finite.
    """

    def __init__(self) -> None:
        self.forward: str | None = None
        self.backward: str | None = None
        self.weights: list[str] = []
        self.losses: list[float] = []
        self.gradients: list[str] = []

    @property
    def found(self) -> bool:
        """Whether anything was not finite."""
        finite = all(torch.tensor(self.losses).isfinite())
        return bool(self.forward or self.backward or self.weights or self.gradients) or not finite

    def lines(self) -> list[str]:
        """Say what was found, in the order in which it arose."""
        weights = [f"weights: not finite before the step: {join(self.weights, 3)}"] if self.weights else []
        forward = [f"forward: {self.forward}"] if self.forward else []
        losses = [f"loss: {join(self.losses, 8)}"] if self.losses else []
        backward = [f"backward: {self.backward}"] if self.backward else []
        gradients = [f"gradients: not finite: {join(self.gradients, 3)}"] if self.gradients else []
        return weights + forward + losses + backward + gradients

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Observe all modules."""
        self.weights = [name for name, value in pl_module.named_parameters() if not value.isfinite().all()]
        for name, module in pl_module.named_modules():
            if name:  # the task itself is not called
                module.register_forward_hook(partial(self._observe, name))

    def _observe(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        # An inner module ends before the modules around it, so that the first one found is the innermost.
        for value in tensors(output):
            if self.forward is None and not value.isfinite().all() and finite(inputs):
                self.forward = (
                    f"{name} ({type(module).__name__}) is the first module whose output is not finite although its "
                    f"input is: {count(value)}"
                )
            if value.requires_grad:
                value.register_hook(partial(self._observe_gradient, f"{name} ({type(module).__name__})"))

    def _observe_gradient(self, name: str, gradient: Tensor) -> None:
        if self.backward is None and not gradient.isfinite().all():
            self.backward = f"the gradient at the output of {name} is the first that is not finite: {count(gradient)}"

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Record the loss."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scale = 1.0 if scaler is None else scaler.get_scale()
        self.losses.append(float(loss.detach()) / scale * trainer.accumulate_grad_batches)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Record the parameters whose gradient is not finite."""
        self.gradients = [
            name
            for name, value in pl_module.named_parameters()
            if value.grad is not None and not value.grad.isfinite().all()
        ]


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of fractional numbers in nested lists, tuples and mappings."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def finite(values: Any) -> bool:
    """Return whether all elements of all tensors are finite."""
    return all(bool(value.isfinite().all()) for value in tensors(values))


def count(values: Tensor) -> str:
    """Count the NaN and infinite elements."""
    parts = {"NaN": int(values.isnan().sum()), "infinite": int(values.isinf().sum())}
    return f"{join(f'{number} {what}' for what, number in parts.items() if number)} of {values.numel()} elements"
