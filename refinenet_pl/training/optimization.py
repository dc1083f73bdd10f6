"""Parameter groups of the optimizer: encoder and decoder, with and without weight decay."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer


def make_optimizer(
    network: nn.Module,
    make: Callable[[Any], Optimizer],
    encoder_lr_factor: float,
    decay_norms_and_biases: bool,
) -> Optimizer:
    """Make an optimizer over the trainable parameters.

    Args:
        network: Parameters whose name starts with "encoder" are the encoder's.
        make: Makes the optimizer from parameter groups.
        encoder_lr_factor: Factor on the learning rate of the encoder.
        decay_norms_and_biases: If False, parameters with one dimension get no weight decay.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decayed = decay_norms_and_biases or parameter.ndim > 1
            groups.setdefault((name.startswith("encoder"), decayed), []).append(parameter)
    optimizer = make(
        [
            {"params": parameters} | ({} if decayed else {"weight_decay": 0.0})
            for (_, decayed), parameters in groups.items()
        ]
    )
    for (encoder, _), group in zip(groups, optimizer.param_groups, strict=True):
        group["name"] = "encoder" if encoder else "decoder"
        if encoder:
            group["lr"] *= encoder_lr_factor
    return optimizer


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Return the learning rates as they are logged: "lr" of the last group, the decoder, and "lr/NAME" of each one."""
    groups = optimizer.param_groups
    rates = {f"lr/{group.get('name', index)}": group["lr"] for index, group in enumerate(groups)}
    return {"lr": groups[-1]["lr"], **rates}
