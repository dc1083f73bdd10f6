"""Losses that fail in training steps, for options such as --model.loss=helpers.bad_steps.NaNAt."""

import torch
from torch import Tensor, nn

from refinenet_pl.training.losses import CrossEntropy


class NaNAt(nn.Module):
    """Cross-entropy that is NaN from one call on; the training steps of a process count from 1."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self.call = call
        self.calls = 0
        self.loss = CrossEntropy()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.calls += self.training
        return self.loss(logits, target) * (torch.nan if self.calls >= self.call else 1.0)


class NaNGradient(nn.Module):
    """A finite loss whose gradient is NaN: the derivative of the square root at 0 is infinite, and it is multiplied by
    0."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = CrossEntropy()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.loss(logits, target) + (logits * 0).sqrt().sum()


class Scaled(nn.Module):
    """Cross-entropy times a factor in one call, or from one call on; with a huge factor, gradients overflow."""

    def __init__(self, factor: float, first: int = 1, last: int = 1_000_000) -> None:
        super().__init__()
        self.factor, self.first, self.last = factor, first, last
        self.calls = 0
        self.loss = CrossEntropy()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.calls += self.training
        return self.loss(logits, target) * (self.factor if self.first <= self.calls <= self.last else 1.0)
