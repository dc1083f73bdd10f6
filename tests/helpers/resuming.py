"""Trains with everything that has a random state, and resumes from every checkpoint of the training."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn

from helpers.probes import adamw, copied
from helpers.tiny_fit import tiny_task, tiny_trainer
from refinenet_pl.data import CamVidDataModule
from refinenet_pl.data.camvid import CAMVID
from refinenet_pl.networks import LightWeightRefineNet
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.training.checkpoint_files import CheckpointFiles
from refinenet_pl.training.checkpoints import RunCheckpoints
from refinenet_pl.training.ema import EMA
from refinenet_pl.training.random_state import RandomState
from refinenet_pl.training.resume_position import ResumePosition

PREPROCESSING = Preprocessing([0.4, 0.5, 0.6], [0.2, 0.25, 0.3], CAMVID.names, CAMVID.colors)


class Recorder(pl.Callback):
    """Records the samples and logger step of each batch, each validation, and a copy of every last.ckpt."""

    def __init__(self, copies: Path | None = None) -> None:
        self.copies = copies
        self.batches: list[tuple[list[str], int]] = []
        self.validations: list[tuple[int, float]] = []
        self.checkpoints: list[tuple[Path, int, int]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches.append((batch["name"], int(batch["image"].long().sum())))

    def on_validation_end(self, trainer, pl_module):
        self.validations.append((trainer.global_step, float(trainer.callback_metrics["val/miou"])))


class CopiedCheckpoints(RunCheckpoints):
    """Keeps a copy of every last.ckpt, with the number of batches and validations that were done before."""

    recorder: Recorder

    def save(self, trainer: pl.Trainer) -> None:
        super().save(trainer)
        if self.recorder.copies is not None:
            copy = self.recorder.copies / f"{len(self.recorder.checkpoints)}.ckpt"
            shutil.copy(self.last, copy)
            done = len(self.recorder.batches), len(self.recorder.validations)
            self.recorder.checkpoints.append((copy, *done))


@dataclass
class Training:
    """What a training did."""

    recorder: Recorder
    weights: dict[str, Tensor]


def network() -> nn.Module:
    return LightWeightRefineNet(
        "tu-test_resnet.r160_in1k",
        encoder_depth=4,
        encoder_weights=None,
        classes=len(CAMVID),
        decoder_channels=(8, 8, 8),
        dropout=0.5,
    )


def train(
    folder: Path,
    root: Path,
    checkpoint: Path | None = None,
    copies: Path | None = None,
    workers: int = 0,
    callbacks: tuple[pl.Callback, ...] = (),
    every_n_steps: int = 1,
    **options: Any,
) -> Training:
    """Train with dropout, augmentation, AdamW and averaged weights; resume if a checkpoint is given."""
    pl.seed_everything(3, verbose=False)
    task = tiny_task(3, network=network(), preprocessing=PREPROCESSING, optimizer=adamw)
    data = CamVidDataModule(root, batch_size=2, num_workers=workers, crop_size=(32, 32), color_jitter=0.5)
    recorder = Recorder(copies)
    best = CopiedCheckpoints(
        every_n_steps=every_n_steps,
        dirpath=folder / "checkpoints",
        filename="best",
        monitor="val/miou",
        mode="max",
        enable_version_counter=False,
    )
    best.recorder = recorder
    trainer = tiny_trainer(
        folder,
        callbacks=[EMA(0.9), recorder, *callbacks, best, ResumePosition(), RandomState()],
        plugins=[CheckpointFiles()],
        logger=CSVLogger(folder, name="", version=""),
        log_every_n_steps=1,
        **options,
    )
    trainer.fit(task, datamodule=data, ckpt_path=checkpoint and str(checkpoint), weights_only=True)
    return Training(recorder, copied(task))
