"""Memory layout of the network's tensors, in memory and in checkpoints."""

from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor


def memory_format(channels_last: bool) -> torch.memory_format:
    """The memory format of images and convolution kernels; GPUs convolve faster in channels-last."""
    return torch.channels_last if channels_last else torch.contiguous_format


def make_contiguous(checkpoint: dict[str, Any]) -> None:
    """Store every tensor of a checkpoint in the contiguous layout, whatever layout the network has in memory."""
    for key, value in checkpoint.items():
        checkpoint[key] = apply_to_collection(value, Tensor, Tensor.contiguous)


def restore_optimizer_layout(checkpoint: dict[str, Any], layout: torch.memory_format) -> None:
    """Give the optimizer's state the layout of the network's parameters, because fused optimizers rely on it."""

    def convert(tensor: Tensor) -> Tensor:
        return tensor.contiguous(memory_format=layout) if tensor.ndim == 4 else tensor

    if "optimizer_states" in checkpoint:  # checkpoints of weights alone have none
        checkpoint["optimizer_states"] = apply_to_collection(checkpoint["optimizer_states"], Tensor, convert)
