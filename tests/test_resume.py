"""A resumed training ends with the weights, samples, validations and logged values of an uninterrupted one."""

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers.fake_data import make_camvid
from helpers.probes import same
from helpers.resuming import Training, train

from refinenet_pl.data import CamVidDataModule
from refinenet_pl.errors import Interrupted
from refinenet_pl.training.interruption import Interruption, handlers_restored

LENGTHS: dict[str, dict[str, Any]] = {
    "epochs": {"max_epochs": 3},
    "steps": {"max_epochs": -1, "max_steps": 10},
    "two validations per epoch": {"max_epochs": 2, "val_check_interval": 2},
    "validations by steps": {
        "max_epochs": -1,
        "max_steps": 11,
        "check_val_every_n_epoch": None,
        "val_check_interval": 3,
    },
    "accumulated gradients": {"max_epochs": 2, "accumulate_grad_batches": 3},
    "few validations": {"max_epochs": -1, "max_steps": 10, "check_val_every_n_epoch": 2},
    "no validation": {"max_epochs": 2, "limit_val_batches": 0},
    "short epochs": {"max_epochs": 4, "limit_train_batches": 2},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four batches of two images per epoch; the ninth image fills no batch."""
    return make_camvid(tmp_path_factory.mktemp("data") / "camvid", train=9, val=2, test=1)


def logged(folder: Path) -> dict[tuple[str, str, str], str]:
    """Every logged value by its step, epoch and name."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {(row["step"], row["epoch"], name): value for row in rows for name, value in row.items() if value}


def assert_goes_on(whole: Training, resumed: Training, batches: int, validations: int) -> None:
    """Compare a resumed training with the rest of an uninterrupted one."""
    assert resumed.recorder.batches == whole.recorder.batches[batches:]
    assert resumed.recorder.validations == whole.recorder.validations[validations:]
    assert same(resumed.weights, whole.weights)


@pytest.mark.parametrize("length", ["epochs", "validations by steps"])
def test_goes_on_from_some_steps(length, root, tmp_path):
    assert_goes_on_from(slice(2, -1, 3), LENGTHS[length], root, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("length", LENGTHS)
def test_goes_on_from_any_step(length, root, tmp_path):
    assert_goes_on_from(slice(None), LENGTHS[length], root, tmp_path)


def assert_goes_on_from(checkpoints: slice, options: dict[str, Any], root: Path, tmp_path: Path) -> None:
    """Train, and resume from some of the checkpoints."""
    (tmp_path / "copies").mkdir()
    whole = train(tmp_path / "whole", root, copies=tmp_path / "copies", **options)
    values = logged(tmp_path / "whole")
    *saved, (_, all_batches, all_validations) = whole.recorder.checkpoints
    assert (all_batches, all_validations) == (len(whole.recorder.batches), len(whole.recorder.validations))
    assert len(saved) > 1
    for checkpoint, batches, validations in saved[checkpoints]:
        folder = tmp_path / checkpoint.stem
        resumed = train(folder, root, checkpoint, **options)
        assert_goes_on(whole, resumed, batches, validations)
        assert logged(folder).items() <= values.items()


def test_goes_on_twice(root, tmp_path):
    options = LENGTHS["validations by steps"]
    (tmp_path / "copies").mkdir()
    whole = train(tmp_path / "whole", root, **options)
    first = train(tmp_path / "first", root, copies=tmp_path / "copies", **options)
    checkpoint, batches, validations = first.recorder.checkpoints[4]
    (tmp_path / "again").mkdir()
    second = train(tmp_path / "second", root, checkpoint, copies=tmp_path / "again", **options)
    assert_goes_on(whole, second, batches, validations)
    checkpoint, *more = second.recorder.checkpoints[2]
    third = train(tmp_path / "third", root, checkpoint, **options)
    assert_goes_on(whole, third, batches + more[0], validations + more[1])


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_do_not_matter(workers, root, tmp_path):
    (tmp_path / "copies").mkdir()
    alone = train(tmp_path / "alone", root, max_epochs=3, copies=tmp_path / "copies")
    others = train(tmp_path / "others", root, max_epochs=3, workers=workers)
    assert_goes_on(alone, others, 0, 0)
    checkpoint, batches, validations = alone.recorder.checkpoints[5]
    resumed = train(tmp_path / "resumed", root, checkpoint, max_epochs=3, workers=workers)
    assert_goes_on(alone, resumed, batches, validations)


class StopAfter(pl.Callback):
    """Sets what `Trainer.should_stop` is after a number of batches, as `max_time` does."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.should_stop = trainer.fit_loop.total_batch_idx + 1 == self.batches


def test_goes_on_after_a_time_limit(root, tmp_path):
    whole = train(tmp_path / "whole", root, max_epochs=3)
    part = train(tmp_path / "part", root, max_epochs=3, callbacks=(StopAfter(6),))
    assert len(part.recorder.batches) == 6
    resumed = train(tmp_path / "resumed", root, tmp_path / "part" / "checkpoints" / "last.ckpt", max_epochs=3)
    assert_goes_on(whole, resumed, 6, 1)


class RequestStop(pl.Callback):
    """Sends a signal to the training in a batch, or in a validation."""

    def __init__(self, interruption: Interruption, batches: int, in_validation: bool) -> None:
        self.interruption, self.batches, self.in_validation = interruption, batches, in_validation

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if not self.in_validation and trainer.fit_loop.total_batch_idx + 1 == self.batches:
            self.interruption.request(15)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if self.in_validation and trainer.fit_loop.total_batch_idx + 1 == self.batches:
            self.interruption.request(15)


@pytest.mark.parametrize(
    ("length", "batches", "in_validation", "validations"),
    [
        ("validations by steps", 2, False, 0),  # within an epoch
        ("validations by steps", 3, False, 0),  # before a validation
        ("validations by steps", 9, True, 2),  # in a validation
        ("epochs", 4, True, 0),  # in the validation at the end of an epoch
        ("epochs", 8, False, 1),  # at the end of an epoch
        ("accumulated gradients", 2, False, 0),
    ],
)
def test_goes_on_after_a_signal(length, batches, in_validation, validations, root, tmp_path):
    options = LENGTHS[length]
    whole = train(tmp_path / "whole", root, **options)
    interruption = Interruption(tmp_path / "part" / "checkpoints" / "last.ckpt")
    stop = RequestStop(interruption, batches, in_validation)
    message = r"SIGTERM at step [0-9]+; .*fit --ckpt_path .*last.ckpt"
    # handlers_restored also stops the watchdog, which would end this process later.
    with handlers_restored(), pytest.raises(Interrupted, match=message) as stopped:
        train(tmp_path / "part", root, callbacks=(stop, interruption), every_n_steps=100, **options)
    assert stopped.value.status == 143
    assert interruption.checkpoint is not None
    resumed = train(tmp_path / "resumed", root, interruption.checkpoint, **options)
    # A step of accumulated gradients is finished first.
    assert_goes_on(
        whole,
        resumed,
        -(-batches // options.get("accumulate_grad_batches", 1)) * options.get("accumulate_grad_batches", 1),
        validations,
    )


def test_checkpoint_needs_no_code(root, tmp_path):
    train(tmp_path, root, max_epochs=1, workers=0)
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    (state,) = checkpoint["callbacks"]["RandomState"]["ranks"]
    assert set(state) == {"torch", "numpy", "python"}


def test_samples_depend_on_the_epoch(root):
    data = CamVidDataModule(root, batch_size=1, num_workers=0, crop_size=(32, 32))
    loader = data.train_dataloader()
    pixels = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        pixels.append({batch["name"][0]: batch["image"] for batch in loader})
    assert same(pixels[0], pixels[2])
    assert not any(torch.equal(image, pixels[1][name]) for name, image in pixels[0].items())
