"""A NaN or infinite loss or gradient stops a training before the weights change."""

import io
import re
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers.bad_steps import NaNAt, NaNGradient, Scaled
from helpers.commands import fit_options, only_run, refinenet, refinenet_process
from helpers.probes import copied, same, tensors
from helpers.tiny_fit import TinyData, tiny_network, tiny_task, tiny_trainer
from helpers.wandb_reader import read_offline_run
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins import MixedPrecision

from refinenet_pl.errors import Fault
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.ema import EMA
from refinenet_pl.training.finite import MAX_SKIPPED_STEPS, StopOnNonFinite
from refinenet_pl.training.replay import read_replay, replay

CONFIG: dict[str, Any] = {"model": {}}


class Weights(pl.Callback):
    """Copies parameters and statistics after each optimizer step, and counts the steps."""

    def __init__(self) -> None:
        self.after: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step > len(self.after):
            self.after.append(copied(pl_module))


def stop(task, folder: Path, **options) -> tuple[str, Weights]:
    """Fit until the fault; return its message and the weights after each step."""
    weights = Weights()
    callbacks = [StopOnNonFinite(CONFIG), weights, *options.pop("callbacks", [])]
    trainer = tiny_trainer(folder, callbacks=callbacks, max_epochs=4, limit_val_batches=0, **options)
    with pytest.raises(Fault) as caught:
        trainer.fit(task, datamodule=TinyData())
    return str(caught.value), weights


def finite(value) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors(value) if tensor.is_floating_point())


@pytest.fixture(scope="module")
def stopped(fake_camvid, tmp_path_factory):
    """Run folder and message of a training whose third step is NaN: in the second epoch of two steps each."""
    runs = tmp_path_factory.mktemp("runs")
    options = [*fit_options(fake_camvid, runs), "--model.loss=helpers.bad_steps.NaNAt", "--model.loss.call=3"]
    message = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(message):
        assert refinenet(patch, "fit", *options, "--trainer.max_epochs=3") == 1
    return only_run(runs), message.getvalue()


@pytest.fixture
def stopped_run(stopped):
    """The run folder alone."""
    return stopped[0]


def test_checkpoints_stay_whole(stopped_run):
    run = RunFolder(stopped_run)
    for file in (run.best_checkpoint, run.last_checkpoint):
        content = torch.load(file, weights_only=True)
        assert content["global_step"] == 2
        assert finite(content["state_dict"])
        assert finite(content["optimizer_states"])
    assert not run.finished, "no evaluation follows a fault"


def test_last_good_checkpoint_is_named(stopped):
    folder, message = stopped
    assert "step 2 (epoch 1): the loss is nan" in message
    assert re.search(rf"last good checkpoint: {folder}/checkpoints/(last|best)\.ckpt\n", message)


def test_fault_is_told(fake_camvid, tmp_path, monkeypatch, capsys):
    options = [*fit_options(fake_camvid, tmp_path), "--model.optimizer.lr=1e30", "--trainer.max_epochs=2"]
    assert refinenet(monkeypatch, "fit", *options) == 1
    message = capsys.readouterr().err.partition("refinenet: error: ")[2]
    run = RunFolder(only_run(tmp_path))
    assert "Traceback" not in message
    assert "step 1 (epoch 0): the loss is nan" in message
    first, second = re.findall(r"samples: (\w+), (\w+)\n", message)[0]
    batch = torch.load(run.replay, weights_only=True)["refinenet_replay"]["batches"]
    assert [part["name"] for part in batch] == [[first, second]]
    # Poly over 4 steps: the second rate is 1e30 * (3 / 4) ** 0.9.
    assert f"learning rate: {1e30 * 0.75**0.9:.4g} (encoder)" in message
    assert "none was saved yet" in message
    assert f"refinenet replay {run.replay}" in message
    assert refinenet(monkeypatch, "replay", run.replay) == 1
    told = capsys.readouterr().out
    assert re.search(r"forward: network\.encoder\.\S+ \(Conv2d\) is the first module .* \d+ infinite of", told)
    assert "loss: nan" in told


def test_finite_again(stopped_run, monkeypatch, capsys):
    """The planted loss counts its calls anew, so that it is finite when the step is run again."""
    assert refinenet(monkeypatch, "replay", RunFolder(stopped_run).replay, "--trust") == 0
    assert "all values are finite" in capsys.readouterr().out


def test_gradient_is_named(fake_camvid, tmp_path, monkeypatch, capsys):
    options = [*fit_options(fake_camvid, tmp_path), "--model.loss=helpers.bad_steps.NaNGradient"]
    assert refinenet(monkeypatch, "fit", *options, "--trainer.max_epochs=1") == 1
    assert "the loss is finite, but the gradient is not: network.encoder" in capsys.readouterr().err
    assert refinenet(monkeypatch, "replay", RunFolder(only_run(tmp_path)).replay, "--trust") == 1
    told = capsys.readouterr().out
    assert "MulBackward0 is the first operation that returns NaN" in told, "the square root gives infinity"
    assert "bad_steps.py" in told, "the line of the user's code"


def test_trial_run_stops_too(fake_camvid, tmp_path, monkeypatch):
    options = [*fit_options(fake_camvid, tmp_path), "--model.loss=helpers.bad_steps.NaNAt", "--model.loss.call=1"]
    assert refinenet(monkeypatch, "fit", *options, "--trainer.fast_dev_run=true") == 1
    assert not list(tmp_path.iterdir()), "a trial run writes nothing"


def test_replay_needs_trust_for_own_classes(stopped_run, monkeypatch, capsys):
    assert refinenet(monkeypatch, "replay", RunFolder(stopped_run).replay) == 2
    message = capsys.readouterr().err
    assert "model.loss is helpers.bad_steps.NaNAt" in message
    assert "--trust" in message


def test_replay_refuses_other_files(stopped_run, tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "replay", RunFolder(stopped_run).last_checkpoint) == 2
    assert "holds no training step" in capsys.readouterr().err
    assert refinenet(monkeypatch, "replay", tmp_path / "none.pt") == 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_clip_val": 1.0},
        {"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"},
        {"precision": "bf16-mixed"},
        {"callbacks": [EMA(0.9)]},
    ],
    ids=["plain", "clipped norm", "clipped values", "bf16", "averaged"],
)
def test_weights_are_those_before(tmp_path, options):
    """The third of the calls is NaN; weights and statistics stay those after the second step."""
    task = tiny_task(loss=NaNAt(3))
    message, weights = stop(task, tmp_path, **options)
    assert "step 2 (epoch 1): the loss is nan" in message
    assert len(weights.after) == 2
    kept = {name: value for name, value in copied(task).items() if "num_batches" not in name}
    assert same(kept, {name: weights.after[-1][name] for name in kept})


def test_accumulated_batches(tmp_path):
    """A NaN in the first batch of a step of two; the step is saved with both batches."""
    task = tiny_task(loss=NaNAt(3))
    message, weights = stop(task, tmp_path, accumulate_grad_batches=2)
    assert "step 1 (epoch 1): the loss is nan" in message
    assert len(weights.after) == 1
    saved = torch.load(RunFolder(tmp_path).replay, weights_only=True)["refinenet_replay"]
    assert len(saved["batches"]) == len(saved["random_states"]) == 2


def test_huge_gradients_are_finite(tmp_path):
    """Their norm overflows, but each element is finite: nothing stops, and clipping is the user's choice."""
    task = tiny_task(loss=Scaled(1e30), optimizer=lambda groups: torch.optim.SGD(groups, lr=1e-36))
    trainer = tiny_trainer(tmp_path, callbacks=[StopOnNonFinite(CONFIG)], limit_val_batches=0)
    trainer.fit(task, datamodule=TinyData())
    assert trainer.global_step == 2


def fp16(scale: float = 2.0**16) -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale))


def test_float16_skips_overflow(tmp_path):
    """The scaler skips steps until its scale is low enough: that is no fault."""
    plugin = fp16(2.0**40)
    trainer = tiny_trainer(
        tmp_path, callbacks=[StopOnNonFinite(CONFIG)], limit_val_batches=0, max_epochs=6, plugins=[plugin]
    )
    task = tiny_task()
    trainer.fit(task, datamodule=TinyData())
    assert plugin.scaler is not None
    assert plugin.scaler.get_scale() < 2.0**40, "it skipped at least one step"
    assert finite(copied(task))


def test_float16_stops_at_nan_loss(tmp_path):
    message, weights = stop(tiny_task(loss=NaNAt(2)), tmp_path, plugins=[fp16(2.0**8)])
    assert "step 1 (epoch 0): the loss is nan" in message
    assert len(weights.after) == 1


def test_float16_stops_if_it_always_overflows(tmp_path):
    callback = StopOnNonFinite(CONFIG)
    trainer = tiny_trainer(tmp_path, callbacks=[callback], limit_val_batches=0, max_epochs=40, plugins=[fp16()])
    with pytest.raises(Fault, match=f"overflowed in {MAX_SKIPPED_STEPS} steps in a row"):
        trainer.fit(tiny_task(loss=NaNGradient()), datamodule=TinyData())


def test_overflow_of_an_update_is_not_saved(tmp_path):
    """The gradients are finite and the update overflows: the check of the checkpoint finds it."""
    task = tiny_task(loss=Scaled(1e30), optimizer=lambda groups: torch.optim.SGD(groups, lr=1e12))
    save = ModelCheckpoint(tmp_path / "checkpoints", every_n_train_steps=1, save_top_k=-1)
    trainer = tiny_trainer(tmp_path, callbacks=[StopOnNonFinite(CONFIG), save], limit_val_batches=0, max_steps=1)
    with pytest.raises(Fault, match="not finite after the last update"):
        trainer.fit(task, datamodule=TinyData())
    assert not list(tmp_path.rglob("*.ckpt"))


def test_replay_draws_the_same_dropout(tmp_path):
    """The loss of the step that is run again is that of the training, although dropout is random."""

    class Loss(pl.Callback):
        seen = 0.0

        def on_before_backward(self, trainer, pl_module, loss):
            self.seen = float(loss)

    def task():
        network = tiny_network()
        network.get_submodule("segmentation_head").register_forward_pre_hook(
            lambda _, inputs: torch.dropout(inputs[0], 0.5, True)
        )
        return tiny_task(network=network, loss=NaNGradient())

    loss = Loss()
    torch.manual_seed(7)
    stop(task(), tmp_path, callbacks=[loss])
    torch.manual_seed(8)
    result = replay(task(), read_replay(RunFolder(tmp_path).replay), tmp_path)
    assert f"loss: {loss.seen}" in result.lines
    assert not result.finite


PLANTED = """
import torch.distributed
from helpers.bad_steps import NaNAt

class NaNOnRankOne(NaNAt):
    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, logits, target):
        self.call = 2 if torch.distributed.get_rank() == 1 else 100
        return super().forward(logits, target)
"""


def test_both_processes_stop(fake_camvid, tmp_path, monkeypatch):
    """The loss of one of two processes is NaN in its second step: both stop there, and the message names it."""
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    options = [*fit_options(fake_camvid, Path("runs")), "--model.loss=planted.NaNOnRankOne"]
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=3", "--data.batch_size=1"]
    frozen = "--model.batch_norm=frozen_statistics"
    done = refinenet_process(tmp_path, "fit", *options, *two, frozen)
    assert done.returncode == 1, done.stderr[-3000:]
    assert done.stderr.count("step 1 (epoch 0): the loss is nan") == 1
    run = RunFolder(only_run(tmp_path / "runs"))
    assert f"refinenet replay {run.replay.relative_to(tmp_path)}" in done.stderr
    saved = torch.load(run.replay, weights_only=True)["refinenet_replay"]
    assert len(saved["batches"]) == 2, "one batch of each process"


def test_wandb_run_is_failed(fake_camvid, tmp_path, monkeypatch):
    """W&B takes the exit status of the process as that of the run."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    options = [
        *fit_options(fake_camvid, tmp_path / "runs"),
        "--model.loss=helpers.bad_steps.NaNAt",
        "--model.loss.call=2",
    ]
    done = refinenet_process(tmp_path, "fit", *options, "--trainer.logger=WandbLogger", "--trainer.max_epochs=1")
    assert done.returncode == 1, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    logged = read_offline_run(only_run(tmp_path / "runs") / "wandb")
    assert logged["exit"] == 1
    assert len([row for row in logged["history"] if "train/loss" in row]) == 1, "the step before the fault is logged"
