"""Checkpoints as `refinenet fit` writes them, without a training."""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from refinenet_pl.data.classes import voc_colors
from refinenet_pl.networks import LightWeightRefineNet
from refinenet_pl.weights.checkpoint import CONFIG_KEY

ARGUMENTS: dict[str, Any] = {
    "encoder_name": "tu-test_resnet.r160_in1k",
    "encoder_weights": "imagenet",  # loading a checkpoint must not download them
    "classes": 3,
    "decoder_channels": [16, 16, 16, 16],
}
PREPROCESSING: dict[str, Any] = {
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.25, 0.3],
    "class_names": ["ground", "sky", "tree"],
    "class_colors": [list(color) for color in voc_colors(3)],
    "pixel_range": [0.0, 1.0],
    "image_scale": 1.0,
}


def small_network(seed: int = 0) -> nn.Module:
    """Return a network that predicts several classes."""
    torch.manual_seed(seed)
    network = LightWeightRefineNet(**ARGUMENTS | {"encoder_weights": None})
    # The usual small random weights would predict one class everywhere.
    for module in [*network.decoder.modules(), *network.segmentation_head.modules()]:
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return network.eval()


def run_settings(**model: Any) -> dict[str, Any]:
    """Return the configuration of a run of `small_network`; arguments replace parts of its model section."""
    network = {"class_path": "refinenet_pl.networks.LightWeightRefineNet", "init_args": ARGUMENTS}
    return {
        "experiment": "small",
        "seed_everything": 0,
        "trainer": {"max_epochs": 3},
        "model": {"network": network, "loss": None, "schedule": None, "preprocessing": PREPROCESSING, **model},
        "data": {"class_path": "refinenet_pl.data.CamVidDataModule", "init_args": {"root": "/home/me/camvid"}},
    }


def write_checkpoint(path: Path, network: nn.Module, config: Any = None, **content: Any) -> Path:
    """Write a checkpoint; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = {
        "state_dict": {f"network.{key}": value for key, value in network.state_dict().items()},
        "pytorch-lightning_version": "2.6.0",
        "epoch": 2,
        "global_step": 12,
        CONFIG_KEY: config if isinstance(config, str) else yaml.safe_dump(config or run_settings()),
    }
    torch.save(checkpoint | content, path)
    return path
