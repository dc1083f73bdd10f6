"""Checks and prepares a network for training."""

from pathlib import Path

from torch import nn

from refinenet_pl.errors import UserError
from refinenet_pl.networks.encoders import load_encoder_weights
from refinenet_pl.training.batch_norm import BatchNormMode, freeze_batch_norm
from refinenet_pl.training.compilation import compile_children


def check_network(network: nn.Module, loss_resolution: str) -> None:
    """Check that a task can train a network.

    Raises:
        UserError: The loss needs `forward_logits` and the network has none, or the network has a classification head.
    """
    if loss_resolution == "logits" and not hasattr(network, "forward_logits"):
        raise UserError(
            f"loss_resolution is 'logits', but {type(network).__name__} has no forward_logits(x); "
            "use loss_resolution='label', or give the network that method"
        )
    if getattr(network, "classification_head", None) is not None:
        raise UserError("the network has a classification head, which the task does not train; remove aux_params")


def prepare_network(
    network: nn.Module, encoder_weights: str | None, batch_norm: BatchNormMode, compile: bool
) -> nn.Module:
    """Initialize the encoder, and set batch norm and compilation, in place; see `SegmentationTask`.

    Returns:
        The network.

    Raises:
        UserError: There are encoder weights but no encoder, or they do not fit.
    """
    if encoder_weights:
        if not hasattr(network, "encoder"):
            raise UserError(
                f"{type(network).__name__} has no attribute `encoder` to load model.encoder_weights into; "
                "leave out model.encoder_weights"
            )
        load_encoder_weights(network.get_submodule("encoder"), Path(encoder_weights))
    freeze_batch_norm(network, batch_norm)
    if compile:
        compile_children(network)
    return network
