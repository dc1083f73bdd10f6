"""Memory layout and compilation change neither losses nor checkpoints."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.probes import adamw, copied, fit_losses, same, tensors
from helpers.tiny_fit import SQUARE, TinyData, tiny_sample, tiny_task, tiny_trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from refinenet_pl.training.ema import EMA


def test_channels_last_keeps_the_losses(tmp_path: Path):
    task = tiny_task()
    image = task.normalize(tiny_sample(SQUARE, seed=0)["image"][None])
    assert image.is_contiguous(memory_format=torch.channels_last)
    usual, strided = (
        fit_losses(tmp_path, tiny_task(channels_last=False), max_epochs=2),
        fit_losses(tmp_path, task, max_epochs=2),
    )
    kernels = [parameter for parameter in task.parameters() if parameter.ndim == 4]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    np.testing.assert_allclose(strided, usual, rtol=1e-3)


def test_checkpoints_are_contiguous(tmp_path: Path):
    checkpoint = ModelCheckpoint(tmp_path, "{step}")
    trainer = tiny_trainer(tmp_path, callbacks=[EMA(), checkpoint])
    trainer.fit(tiny_task(optimizer=adamw), datamodule=TinyData())
    content = torch.load(checkpoint.best_model_path, weights_only=True)
    for part in ("state_dict", "current_model_state", "optimizer_states"):
        assert len([tensor for tensor in tensors(content[part]) if tensor.ndim == 4]) > 10, part
    assert all(tensor.is_contiguous() for tensor in tensors(content))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_resume_gives_the_same_weights(tmp_path: Path, channels_last: bool, fused: bool):
    def fit(ckpt_path: Path | None = None) -> dict[str, Tensor]:
        task = tiny_task(channels_last=channels_last, optimizer=partial(adamw, fused=fused), batch_norm="frozen")
        checkpoint = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, enable_version_counter=False)
        trainer = tiny_trainer(tmp_path, max_epochs=3, callbacks=[checkpoint, EMA(0.5)])
        trainer.fit(task, datamodule=TinyData(), ckpt_path=ckpt_path)
        return copied(task)

    whole = fit()
    assert same(fit(tmp_path / "epoch=0.ckpt"), whole)


def test_refuses_to_resume_from_weights(tmp_path: Path):
    checkpoint = ModelCheckpoint(tmp_path, save_weights_only=True)
    tiny_trainer(tmp_path, callbacks=[checkpoint]).fit(tiny_task(), datamodule=TinyData())
    with pytest.raises(KeyError, match="contains only the model"):
        tiny_trainer(tmp_path, max_epochs=2).fit(
            tiny_task(), datamodule=TinyData(), ckpt_path=checkpoint.best_model_path
        )


def test_compiled_checkpoint_loads_eagerly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # The real backend takes minutes on a CPU; this one runs the traced code unchanged.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    task, eager = tiny_task(compile=True), tiny_task(seed=1)
    checkpoint = ModelCheckpoint(tmp_path)
    trainer = tiny_trainer(tmp_path, callbacks=[checkpoint, EMA()], max_steps=2)
    trainer.fit(task, datamodule=TinyData(val=[tiny_sample(SQUARE, 10)]))
    content = torch.load(checkpoint.best_model_path, weights_only=True)
    assert content["state_dict"].keys() == eager.state_dict().keys()
    eager.load_state_dict(content["state_dict"])
    image = tiny_sample(SQUARE, seed=0)["image"][None]
    with torch.no_grad():
        torch.testing.assert_close(task.eval()(image), eager.eval()(image), atol=1e-4, rtol=1e-4)
