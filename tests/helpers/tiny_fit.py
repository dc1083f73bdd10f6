"""A small network, dataset and trainer: a fit takes one or two seconds on one core."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torchvision import tv_tensors

from helpers.fake_data import PALETTE, blocks
from refinenet_pl.data import SegmentationDataModule
from refinenet_pl.data.classes import IGNORE_INDEX, Classes, voc_colors
from refinenet_pl.networks import LightWeightRefineNet
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.training.task import SegmentationTask

CLASSES = Classes(("ground", "wall", "roof", "sky"), voc_colors(4))
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
PREPROCESSING = Preprocessing(MEAN, STD, CLASSES.names, CLASSES.colors)
SQUARE = (64, 64)


def tiny_sample(size: tuple[int, int], seed: int, values: Sequence[int] = (0, 1, 2, 3, IGNORE_INDEX)) -> dict[str, Any]:
    """A sample with blocks of classes, and an image that shows each class in its color."""
    labels = blocks(size, values, seed)
    image = torch.from_numpy(PALETTE[labels]).permute(2, 0, 1).contiguous()
    return {"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(torch.from_numpy(labels)), "name": f"s{seed}"}


class TinyData(SegmentationDataModule):
    """The project's loaders on samples in memory; by default 4 to train on, and 3 of mixed sizes to validate on."""

    classes = CLASSES

    def __init__(
        self,
        train: Sequence[dict[str, Any]] | None = None,
        val: Sequence[dict[str, Any]] | None = None,
        batch_size: int = 2,
    ) -> None:
        super().__init__(root=".", batch_size=batch_size, num_workers=0)
        train = train or [tiny_sample(SQUARE, seed) for seed in range(4)]
        val = val or [tiny_sample(size, 10 + i) for i, size in enumerate([(65, 97), SQUARE, (48, 33)])]
        self.splits = {"train": train, "val": val, "test": val}

    def dataset(self, split: str) -> Any:
        return self.splits[split]


def tiny_network() -> nn.Module:
    """Light-weight RefineNet without dropout, so that runs can be compared."""
    network = LightWeightRefineNet(
        "tu-test_resnet.r160_in1k",
        encoder_depth=4,
        encoder_weights=None,
        classes=len(CLASSES),
        decoder_channels=(16, 16, 16),
        dropout=0.0,
    )
    # With the authors' small initial weights, the network would predict one class everywhere throughout a test.
    for module in [*network.decoder.modules(), *network.segmentation_head.modules()]:
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    return network


def tiny_task(seed: int = 0, **options: Any) -> SegmentationTask:
    """A task with `tiny_network`, whose weights depend only on the seed."""
    torch.manual_seed(seed)
    defaults: dict[str, Any] = {"network": tiny_network(), "optimizer": sgd, "preprocessing": PREPROCESSING}
    return SegmentationTask(**(defaults | options))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3)


def tiny_trainer(folder: Path, **options: Any) -> pl.Trainer:
    """A silent trainer on one CPU that writes to `folder`; it saves checkpoints only if a callback does."""
    silent: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(isinstance(c, pl.callbacks.ModelCheckpoint) for c in options.get("callbacks", [])),
        "num_sanity_val_steps": 0,
        "max_epochs": 1,
    }
    return pl.Trainer(accelerator="cpu", devices=1, default_root_dir=folder, **(silent | options))


def count_by_hand(pairs: Sequence[tuple[np.ndarray, np.ndarray]], classes: int) -> np.ndarray:
    """The confusion matrix (rows = target) of pairs of prediction and target, without ignored pixels."""
    matrix = np.zeros((classes, classes), np.int64)
    for prediction, target in pairs:
        counted = target != IGNORE_INDEX
        np.add.at(matrix, (target[counted], prediction[counted]), 1)
    return matrix
