"""Properties of the steps and rates of a continued training, against an uninterrupted one by the real trainer."""

import itertools
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
from helpers.tiny_fit import TinyData, sgd, tiny_sample, tiny_task, tiny_trainer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from refinenet_pl.training.plan import total_epochs
from refinenet_pl.training.resume_position import ResumePosition
from refinenet_pl.training.task import SegmentationTask

RATE = 0.05
SAMPLES = [tiny_sample((32, 32), seed) for seed in range(5)]


class Recorder(pl.Callback):
    """Records sample, step and rate of each batch, and saves after a number of them: at once, or as the epoch ends."""

    def __init__(self, checkpoint: Path | None = None, after: int = 0, at_once: bool = True) -> None:
        self.checkpoint, self.after, self.at_once = checkpoint, after, at_once
        self.batches: list[tuple[str, int, float]] = []
        self.epoch = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.batches.append((batch["name"][0], trainer.global_step, rate))
        self.epoch = trainer.current_epoch + 1

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if len(self.batches) == self.after and (self.at_once or batch_idx + 1 < trainer.num_training_batches):
            self.save(trainer)

    def on_train_epoch_end(self, trainer, pl_module):
        if len(self.batches) == self.after:
            self.save(trainer)

    def save(self, trainer):
        if self.checkpoint is not None and not self.checkpoint.exists():
            trainer.save_checkpoint(self.checkpoint)


class Training(NamedTuple):
    """What a training did."""

    batches: list[tuple[str, int, float]]
    total_steps: int
    last_step: int
    total_epochs: int | None
    last_epoch: int


def train(folder: str, batches: int, recorder: Recorder, resumed: Path | None = None, **options: Any) -> Training:
    task: SegmentationTask = tiny_task(network=nn.Conv2d(3, 4, 1), optimizer=sgd)
    data = TinyData(SAMPLES[:batches], batch_size=1)
    trainer = tiny_trainer(Path(folder), callbacks=[recorder, ResumePosition()], limit_val_batches=0, **options)
    trainer.fit(task, datamodule=data, ckpt_path=resumed, weights_only=True)
    steps, progress = task.plan["total_steps"], task.resumed and task.resumed.progress
    epochs = total_epochs(trainer, steps, progress)
    return Training(recorder.batches, steps, trainer.global_step, epochs, recorder.epoch or epochs or 0)


def poly(step: int, total: int) -> float:
    return RATE * (1 - step / total) ** 0.9


LENGTHS = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.none() | st.integers(1, 12))
"""Batches per epoch, batches per step, epochs, and most steps."""


@settings(max_examples=12)
@given(LENGTHS, st.integers(1, 15), st.booleans())
@example((4, 3, 1, None), 2, True)
def test_resumed_steps_are_the_rest_of_the_whole(lengths, stop, at_once):
    batches, accumulated, epochs, most = lengths
    stop = (stop - 1) % (batches * epochs) + 1
    options = {"accumulate_grad_batches": accumulated, "max_epochs": epochs, "max_steps": most or -1}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "some.ckpt")
        whole = train(folder, batches, Recorder(checkpoint, stop, at_once), **options)
        assert (whole.total_steps, whole.total_epochs) == (whole.last_step, whole.last_epoch)
        assert [rate for *_, rate in whole.batches] == pytest.approx(
            [poly(step, whole.total_steps) for _, step, _ in whole.batches]
        )
        assert all(rate > 0 for *_, rate in whole.batches)
        if not checkpoint.exists():  # max_steps ended it before
            assert len(whole.batches) < stop
            return
        resumed = train(folder, batches, Recorder(), checkpoint, **options)
    assert resumed == whole._replace(batches=whole.batches[stop:])


@settings(max_examples=10)
@given(LENGTHS, LENGTHS, st.integers(1, 15))
@example((4, 3, 1, None), (4, 3, 2, None), 2)
def test_changed_length_ends_where_it_is_planned(lengths, changed, stop):
    batches, accumulated, epochs, _ = lengths
    stop = (stop - 1) % (batches * epochs) + 1
    _, other_accumulated, other_epochs, most = changed
    other_epochs = max(other_epochs, -(-stop // batches))  # fewer than the checkpoint has are refused by Lightning
    if stop % batches:  # a change between epochs only
        other_accumulated = accumulated
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "some.ckpt")
        options: dict[str, Any] = {"accumulate_grad_batches": accumulated, "max_epochs": epochs}
        whole = train(folder, batches, Recorder(checkpoint, stop, at_once=False), **options)
        options = {"accumulate_grad_batches": other_accumulated, "max_epochs": other_epochs, "max_steps": most or -1}
        resumed = train(folder, batches, Recorder(), checkpoint, **options)
    done = max(step for _, step, _ in itertools.islice(whole.batches, stop))
    assert resumed.last_step >= done
    if resumed.batches:
        assert (resumed.total_steps, resumed.total_epochs) == (resumed.last_step, resumed.last_epoch)
        assert len(resumed.batches) <= max(0, other_epochs * batches - stop)
    assert [rate for *_, rate in resumed.batches] == pytest.approx(
        [poly(step, resumed.total_steps) for _, step, _ in resumed.batches]
    )
    assert all(rate > 0 for *_, rate in resumed.batches)
