"""Batch norm of the encoder: freezing it, and refusing settings in which it cannot work."""

from collections.abc import Iterator
from typing import Literal

from torch import nn

from refinenet_pl.errors import UserError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

BatchNormMode = Literal["train", "frozen_statistics", "frozen"]
"""Train all of it; keep mean and variance, and train the affine part; or keep both."""


def encoder_batch_norms(network: nn.Module) -> Iterator[nn.Module]:
    """Find the batch norms of the encoder: modules of the network whose name starts with "encoder"."""
    for name, module in network.named_modules():
        if name.startswith("encoder") and isinstance(module, BATCH_NORMS):
            yield module


def freeze_batch_norm(network: nn.Module, mode: BatchNormMode) -> None:
    """Freeze the encoder's batch norm as the mode says."""
    if mode == "frozen":
        for norm in encoder_batch_norms(network):
            norm.requires_grad_(False)
    keep_frozen(network, mode)


def keep_frozen(network: nn.Module, mode: BatchNormMode) -> None:
    """Put frozen batch norm into evaluation mode again, which `network.train()` ends."""
    if mode != "train":
        for norm in encoder_batch_norms(network):
            norm.eval()


def check_batch_norm(network: nn.Module, device_type: str, batch_size: int | None) -> None:
    """Check that the encoder's batch norm can train.

    Args:
        network: The network.
        device_type: "cpu", "cuda" or another of torch's.
        batch_size: Images per device; None if unknown.

    Raises:
        UserError: It is synchronized on a CPU, or would estimate statistics from one image.
    """
    norms = list(encoder_batch_norms(network))
    synchronized = any(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    if synchronized and device_type == "cpu":
        raise UserError("trainer.sync_batchnorm needs GPUs; leave it out, or freeze batch norm with model.batch_norm")
    if norms and not synchronized and batch_size == 1:
        raise UserError(
            "data.batch_size is 1, and batch norm cannot estimate statistics from one image per device; set "
            "model.batch_norm=frozen_statistics (as in the paper) or a larger data.batch_size"
        )


def check_synchronizable(network: nn.Module) -> None:
    """Refuse batch norms that torch cannot synchronize.

    Some of timm's batch norms include the activation. torch's synchronized batch norm would drop it silently.

    Raises:
        UserError: The network has such a batch norm.
    """
    for name, norm in network.named_modules():
        if isinstance(norm, nn.BatchNorm2d) and type(norm) is not nn.BatchNorm2d:
            raise UserError(
                f"trainer.sync_batchnorm would lose the activation in {name} ({type(norm).__name__}); leave it out, "
                "freeze batch norm with model.batch_norm, or choose an encoder with plain batch norm"
            )
