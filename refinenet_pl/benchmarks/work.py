"""Counts the work of a computation: operations, and bytes that cannot be avoided."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

FORWARD, TRAINING = 2, 5
"""How often the output of a layer moves: written and read; in training, its gradient too, and it is read again."""


def operations(compute: Callable[[], object]) -> float:
    """Return the operations of convolutions and matrix products; a multiplication and an addition are two."""
    counted = {torch.ops.aten.convolution_backward: _convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=counted) as counter:
        compute()
    return float(counter.get_total_flops())


def _convolution_backward(
    gradient: Sequence[int],
    images: Sequence[int],
    weight: Sequence[int],
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    wanted: Sequence[bool],
    out_shape: Any = None,
) -> int:
    """Count the gradients of images and weights, each as much as the forward pass.

    torch's own count forgets that depthwise convolutions have groups: it is a hundred times too high for them.
    """
    pixels = images if transposed else gradient
    forward = 2 * pixels[0] * math.prod(pixels[2:]) * math.prod(weight)
    return forward * sum(wanted[:2])


def moved_bytes(network: nn.Module, compute: Callable[[], object], moves: int) -> float:
    """Return the bytes that layers have to move if none is fused: their outputs, and each parameter once.

    Args:
        network: The network that computes.
        compute: Calls the network.
        moves: How often each output moves: FORWARD or TRAINING.
    """
    total = sum(parameter.nbytes for parameter in network.parameters())
    with _outputs_of_layers(network) as sizes:
        compute()
    return float(total + moves * sum(sizes))


@contextmanager
def _outputs_of_layers(network: nn.Module) -> Iterator[list[int]]:
    sizes: list[int] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.nbytes)

    layers = [module for module in network.modules() if not [*module.children()]]
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield sizes
    finally:
        for handle in handles:
            handle.remove()


def parameter_count(network: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
