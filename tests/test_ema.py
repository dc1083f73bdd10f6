"""Exponential moving average of the weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from helpers.probes import Validations, copied, same, tensors
from helpers.tiny_fit import TinyData, tiny_task, tiny_trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from refinenet_pl.training.ema import EMA
from refinenet_pl.training.schedules import Constant


class Weights(pl.Callback):
    """Records the weights after each training batch and in each validation."""

    def __init__(self) -> None:
        self.trained: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.trained.append(copied(pl_module))

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 0:
            self.validated.append(copied(pl_module))


def test_average_starts_as_the_network(tmp_path: Path):
    task, weights = tiny_task(), Weights()
    start = copied(task)
    trainer = tiny_trainer(tmp_path, num_sanity_val_steps=1, callbacks=[EMA(), weights])
    trainer.fit(task, datamodule=TinyData())
    assert same(weights.validated[0], start)


def test_average_follows_the_formula(tmp_path: Path):
    decay = 0.3
    task, weights, checkpoint = tiny_task(), Weights(), ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    trainer = tiny_trainer(tmp_path, max_epochs=3, callbacks=[EMA(decay), weights, checkpoint])
    trainer.fit(task, datamodule=TinyData())
    assert len(weights.trained) == 6
    average = weights.trained[0]
    for n, current in list(enumerate(weights.trained))[1:]:
        warm = min(decay, (1 + n) / (10 + n))
        assert (warm < decay) == (n < 3), "covers the warm-up and the final decay"
        average = {
            name: warm * average[name] + (1 - warm) * value if value.is_floating_point() else value
            for name, value in current.items()
        }
    assert not same(average, weights.trained[-1])
    saved = torch.load(tmp_path / "epoch=2.ckpt", weights_only=True)
    for found in (weights.validated[-1], saved["state_dict"], copied(task)):
        torch.testing.assert_close(found, average, atol=1e-6, rtol=1e-5)
    assert same(saved["current_model_state"], weights.trained[-1])


def test_validate_uses_the_saved_average(tmp_path: Path):
    task, data, seen = tiny_task(schedule=Constant()), TinyData(), Validations()
    checkpoint = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    trainer = tiny_trainer(tmp_path, max_epochs=3, callbacks=[EMA(0.9), seen, checkpoint])
    trainer.fit(task, datamodule=data)
    first, last = seen.matrix(0), seen.matrix(2)
    assert (first != last).any()
    trainer.validate(task, datamodule=data, ckpt_path=str(tmp_path / "epoch=0.ckpt"), verbose=False)
    np.testing.assert_array_equal(seen.matrix(3), first)

    again = Validations()
    alone = tiny_trainer(tmp_path, callbacks=[EMA(0.9), again])
    alone.validate(tiny_task(seed=9), datamodule=data, ckpt_path=str(tmp_path / "epoch=0.ckpt"), verbose=False)
    np.testing.assert_array_equal(again.matrix(0), first)


def test_average_is_on_the_device():
    class Strategy:
        root_device = torch.device("meta")

    class Trainer:
        strategy = Strategy()

    ema, task = EMA(), tiny_task()
    checkpoint: dict[str, Any] = {"state_dict": {}}
    ema.setup(Trainer(), task, "fit")  # type: ignore[arg-type]
    ema.on_save_checkpoint(Trainer(), task, checkpoint)  # type: ignore[arg-type]
    assert {tensor.device.type for tensor in tensors(checkpoint["state_dict"])} == {"meta"}
