"""Parameter groups, learning rates, and how a resumed run continues them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
from helpers.probes import Rates, copied, encoder_norms, same
from helpers.tiny_fit import SQUARE, TinyData, sgd, tiny_network, tiny_sample, tiny_task, tiny_trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from refinenet_pl.errors import UserError
from refinenet_pl.training.optimization import make_optimizer
from refinenet_pl.training.schedules import Poly


def test_groups_by_encoder_and_decay():
    network = tiny_network()
    optimizer = make_optimizer(network, sgd, encoder_lr_factor=0.1, decay_norms_and_biases=False)
    groups = {(group["name"], group["weight_decay"] > 0): group for group in optimizer.param_groups}
    assert len(groups) == len(optimizer.param_groups) == 4
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    grouped = []
    for (part, decayed), group in groups.items():
        assert group["lr"] == pytest.approx(0.005 if part == "encoder" else 0.05)
        assert group["weight_decay"] == (1e-3 if decayed else 0)
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name.startswith("encoder.") == (part == "encoder"), name
            assert (parameter.ndim > 1) == decayed, name
            grouped.append(name)
    assert sorted(grouped) == sorted(names.values())


def test_frozen_parameters_have_no_group():
    task = tiny_task(batch_norm="frozen")
    optimizer = make_optimizer(task.network, sgd, encoder_lr_factor=0.5, decay_norms_and_biases=True)
    assert [group["name"] for group in optimizer.param_groups] == ["encoder", "decoder"]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-3}
    frozen = {id(parameter) for norm in encoder_norms(task) for parameter in norm.parameters()}
    grouped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert not frozen & grouped
    assert frozen | grouped == {id(parameter) for parameter in task.network.parameters()}


def poly_rates(total: int, warmup: int = 0, power: float = 0.9, encoder: float = 0.1) -> list[list[float]]:
    """The formula's learning rates of encoder and decoder in each step of a run."""
    factors = [min(1, (step + 1) / warmup if warmup else 1) * (1 - step / total) ** power for step in range(total)]
    return [[0.05 * encoder * factor, 0.05 * factor] for factor in factors]


FIVE_BATCHES = [tiny_sample(SQUARE, seed) for seed in range(10)]


def test_schedule_counts_optimizer_steps(tmp_path: Path):
    rates = Rates()
    task = tiny_task(encoder_lr_factor=0.1, schedule=Poly(warmup_steps=2))
    trainer = tiny_trainer(tmp_path, max_epochs=3, accumulate_grad_batches=2, limit_val_batches=0, callbacks=[rates])
    trainer.fit(task, datamodule=TinyData(train=FIVE_BATCHES))
    assert len(rates.seen) == 9  # five batches are three steps per epoch: two, two and one batch
    np.testing.assert_allclose(rates.seen, poly_rates(total=9, warmup=2), rtol=1e-6)


def test_logs_the_decoders_rate(tmp_path: Path):
    class Logged(pl.Callback):
        seen: list[float] = []  # noqa: RUF012

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.seen.append(float(trainer.callback_metrics["lr"]))

    rates, logged = Rates(), Logged()
    trainer = tiny_trainer(tmp_path, max_epochs=2, limit_val_batches=0, callbacks=[rates, logged])
    trainer.fit(tiny_task(encoder_lr_factor=0.1), datamodule=TinyData())
    np.testing.assert_allclose(logged.seen, [decoder for _, decoder in rates.seen], rtol=1e-6)


@pytest.mark.parametrize("saved_at", [3, 4], ids=["end of epoch", "middle of epoch"])
def test_resume_continues_the_schedule(tmp_path: Path, saved_at: int):
    def fit(folder: str, ckpt_path: Path | None = None) -> list[list[float]]:
        rates = Rates()
        checkpoint = ModelCheckpoint(tmp_path / folder, "{step}", every_n_train_steps=saved_at, save_top_k=-1)
        trainer = tiny_trainer(
            tmp_path, max_epochs=3, accumulate_grad_batches=2, limit_val_batches=0, callbacks=[rates, checkpoint]
        )
        trainer.fit(tiny_task(encoder_lr_factor=0.1), datamodule=TinyData(train=FIVE_BATCHES), ckpt_path=ckpt_path)
        return rates.seen

    whole = fit("whole")
    resumed = fit("resumed", tmp_path / "whole" / f"step={saved_at}.ckpt")
    np.testing.assert_allclose(whole, poly_rates(total=9), rtol=1e-6)
    assert resumed == whole[saved_at:]


def test_refuses_run_without_end(tmp_path: Path):
    with pytest.raises(UserError, match=r"trainer\.max_epochs or trainer\.max_steps"):
        tiny_trainer(tmp_path, max_epochs=-1).fit(tiny_task(), datamodule=TinyData())


def test_validation_interval_counts_batches(tmp_path: Path):
    class Steps(pl.Callback):
        seen: list[int] = []  # noqa: RUF012

        def on_validation_end(self, trainer, pl_module):
            self.seen.append(trainer.global_step)

    steps = Steps()
    options: dict[str, Any] = {"accumulate_grad_batches": 2, "val_check_interval": 4, "check_val_every_n_epoch": None}
    trainer = tiny_trainer(tmp_path, max_epochs=-1, max_steps=6, callbacks=[steps], **options)
    trainer.fit(tiny_task(), datamodule=TinyData(train=FIVE_BATCHES[:8]))
    assert steps.seen == [2, 4, 6]


def test_one_seed_gives_the_same_weights(tmp_path: Path):
    def fit() -> dict[str, Tensor]:
        pl.seed_everything(3)
        task = tiny_task(seed=3)
        tiny_trainer(tmp_path, max_epochs=2).fit(task, datamodule=TinyData())
        return copied(task)

    first = fit()
    assert not same(first, copied(tiny_task(seed=3)))
    assert same(first, fit())
