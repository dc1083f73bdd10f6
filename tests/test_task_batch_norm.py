"""What each batch-norm setting trains and what it freezes."""

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from helpers.probes import copied, encoder_norms
from helpers.tiny_fit import TinyData, tiny_network, tiny_task, tiny_trainer
from torch import nn

from refinenet_pl.errors import UserError


@pytest.mark.parametrize(
    ("batch_norm", "statistics_move", "affine_moves"),
    [("train", True, True), ("frozen_statistics", False, True), ("frozen", False, False)],
)
def test_setting_decides_what_trains(tmp_path: Path, batch_norm: str, statistics_move: bool, affine_moves: bool):
    task = tiny_task(batch_norm=batch_norm)
    before = [copied(norm) for norm in encoder_norms(task)]
    tiny_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=1).fit(task, datamodule=TinyData())
    after = [copied(norm) for norm in encoder_norms(task)]
    assert len(after) > 10
    for name, moves in [
        ("running_mean", statistics_move),
        ("running_var", statistics_move),
        ("num_batches_tracked", statistics_move),
        ("weight", affine_moves),
        ("bias", affine_moves),
    ]:
        moved = [not torch.equal(old[name], new[name]) for old, new in zip(before, after, strict=True)]
        assert moved == [moves] * len(moved), name


@pytest.mark.parametrize("batch_norm", ["frozen_statistics", "frozen"])
def test_frozen_from_the_first_batch(tmp_path: Path, batch_norm: str):
    task = tiny_task(batch_norm=batch_norm)
    before = [norm.running_mean.clone() for norm in encoder_norms(task)]
    tiny_trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(task, datamodule=TinyData())
    assert all(torch.equal(old, norm.running_mean) for old, norm in zip(before, encoder_norms(task), strict=True))


def test_train_mode_keeps_norms_frozen():
    task = tiny_task(batch_norm="frozen_statistics").eval().train()
    assert not any(norm.training for norm in encoder_norms(task))
    assert task.network.get_submodule("decoder").training
    assert all(norm.training for norm in encoder_norms(tiny_task().eval().train()))


def test_freezes_only_the_encoder(tmp_path: Path):
    network = smp.Unet("resnet18", encoder_depth=3, decoder_channels=(16, 8, 8), encoder_weights=None, classes=4)
    task = tiny_task(network=network, batch_norm="frozen")
    tiny_trainer(tmp_path, max_steps=1).fit(task, datamodule=TinyData())
    norms = [module for module in network.decoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(norm.weight.requires_grad and norm.num_batches_tracked == 1 for norm in norms)


def test_refuses_batch_of_one(tmp_path: Path):
    with pytest.raises(UserError, match=r"data\.batch_size is 1.*frozen_statistics"):
        tiny_trainer(tmp_path).fit(tiny_task(), datamodule=TinyData(batch_size=1))


def test_frozen_norms_take_batch_of_one(tmp_path: Path):
    task = tiny_task(batch_norm="frozen_statistics")
    tiny_trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(task, datamodule=TinyData(batch_size=1))


def test_refuses_sync_batch_norm_on_cpu(tmp_path: Path):
    task = tiny_task(network=nn.SyncBatchNorm.convert_sync_batchnorm(tiny_network()))
    with pytest.raises(UserError, match="sync_batchnorm needs GPUs"):
        tiny_trainer(tmp_path).fit(task, datamodule=TinyData())
