"""`costs.json` of real fits."""

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import fit_options, only_run, refinenet
from helpers.tiny_fit import SQUARE, TinyData, tiny_sample, tiny_task, tiny_trainer
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, Timer
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from refinenet_pl.runs import RunFolder
from refinenet_pl.training.costs import TrainingCosts


class Nap(Callback):
    """Sleeps before batches and images."""

    def __init__(self, batch: float = 0.0, image: float = 0.0) -> None:
        self.batch, self.image = batch, image

    def on_train_batch_start(self, *_: Any) -> None:
        time.sleep(self.batch)

    def on_validation_batch_start(self, *_: Any) -> None:
        time.sleep(self.image)


def costs(folder: Path) -> dict[str, Any]:
    return json.loads(RunFolder(folder).costs.read_text())


def fit(folder: Path, *callbacks: Callback, **options: Any) -> dict[str, Any]:
    """Fit with five batches per epoch and validations of three images; return the costs."""
    data = TinyData(train=[tiny_sample(SQUARE, seed) for seed in range(10)], batch_size=2)
    checkpoint = options.pop("ckpt_path", None)
    trainer = tiny_trainer(folder, callbacks=[TrainingCosts(), *callbacks], **options)
    trainer.fit(tiny_task(), datamodule=data, ckpt_path=checkpoint)
    return costs(folder)


@pytest.mark.parametrize(
    ("options", "steps", "validations"),
    [
        ({"max_epochs": 2}, 10, 2),
        ({"max_epochs": 3, "accumulate_grad_batches": 2}, 9, 3),
        ({"max_epochs": 5, "check_val_every_n_epoch": 2}, 25, 2),
        ({"max_epochs": 2, "val_check_interval": 2}, 10, 4),
        ({"max_epochs": 2, "val_check_interval": 3, "check_val_every_n_epoch": None}, 10, 3),
        ({"max_epochs": -1, "max_steps": 8, "val_check_interval": 2}, 8, 3),
        ({"max_epochs": 2, "limit_val_batches": 0}, 10, 0),
    ],
)
def test_planned_counts_are_right(options: dict[str, Any], steps: int, validations: int, tmp_path: Path) -> None:
    class Counter(Callback):
        images = 0

        def on_validation_batch_end(self, *_: Any) -> None:
            self.images += 1

    counter = Counter()
    found = fit(tmp_path, counter, **options)
    assert found["steps"] == found["planned_steps"] == steps
    assert counter.images == 3 * validations
    # Including the final evaluation.
    assert found["planned_validation_images"] == (3 * (validations + 1) if validations else 0)


def test_stopped_run_reports_the_plan(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            trainer.should_stop = trainer.global_step == 2

    options = {"max_epochs": 7, "check_val_every_n_epoch": 2, "accumulate_grad_batches": 2, "num_sanity_val_steps": 2}
    found = fit(tmp_path, Stop(), **options)
    assert found["steps"] == 2
    assert found["planned_steps"] == 7 * 3
    assert found["planned_validation_images"] == 3 * (3 + 1)
    assert found["seconds_per_validation_image"] > 0, "measured in the sanity check"


def test_timed_validations_are_not_planned(tmp_path: Path) -> None:
    assert fit(tmp_path, val_check_interval="00:01:00:00")["planned_validation_images"] is None


def test_counts_the_networks_parameters(tmp_path: Path) -> None:
    network = tiny_task().network
    assert fit(tmp_path)["parameters"] == sum(value.numel() for _, value in network.named_parameters())


def test_step_time_excludes_validation(tmp_path: Path) -> None:
    often = {"limit_train_batches": 4, "accumulate_grad_batches": 2, "val_check_interval": 1, "limit_val_batches": 1}
    found = fit(tmp_path, Nap(batch=0.1, image=1.0), **often)
    assert found["steps"] == 2
    assert found["seconds_per_validation_image"] >= 1
    assert found["seconds"] >= 4 * 0.1 + 4 * 1
    # With validations (one in the first step, two in the second) the median would be 1.7.
    assert 0.2 <= found["seconds_per_step"] < 1.7


def test_peak_memory_is_the_processs(tmp_path: Path) -> None:
    found = fit(tmp_path)["peak_memory_mb"]
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        assert 0.5 * 1.024e-3 * int(line.split()[1]) < found <= 1.024e-3 * int(line.split()[1]) + 0.1


def test_resume_sums_the_seconds(tmp_path: Path) -> None:
    last = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True)
    first = fit(tmp_path, Nap(batch=0.2), Timer(), last)
    assert (first["steps"], first["planned_steps"]) == (5, 5)
    whole = fit(tmp_path, Timer(), max_epochs=2, ckpt_path=tmp_path / "last.ckpt")
    assert (whole["steps"], whole["planned_steps"]) == (10, 10)
    kept = torch.load(tmp_path / "last.ckpt")["callbacks"]["TrainingCosts"]["seconds"]
    assert 5 * 0.2 <= kept <= first["seconds"]
    assert whole["seconds"] >= kept + 3 * whole["seconds_per_step"], "half of the steps take at least the median"


def test_max_time_writes_costs(fake_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = ["--trainer.max_epochs=1000", "--trainer.max_time=00:00:00:02"]
    assert refinenet(monkeypatch, "fit", *fit_options(fake_camvid, tmp_path / "runs"), *stopped) == 0
    found = costs(only_run(tmp_path / "runs"))
    assert 0 < found["steps"] < found["planned_steps"] == 1000 * 2
    assert found["planned_validation_images"] == 3 * (1000 + 1)
    assert found["seconds"] >= 2


def test_fast_dev_run_writes_nothing(fake_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [*fit_options(fake_camvid, tmp_path / "runs"), "--trainer.fast_dev_run=true"]
    assert refinenet(monkeypatch, "fit", *options) == 0
    assert not list(tmp_path.rglob("costs.json"))


class SlowSamples(list):
    """Samples that take a twentieth of a second each to read."""

    def __getitem__(self, index: Any) -> Any:
        time.sleep(0.05)
        return super().__getitem__(index)


def test_waiting_for_slow_data_is_counted(tmp_path: Path) -> None:
    samples = SlowSamples(tiny_sample(SQUARE, seed) for seed in range(10))
    logger = CSVLogger(tmp_path)
    trainer = tiny_trainer(
        tmp_path, callbacks=[TrainingCosts(), Nap(image=0.5)], max_epochs=2, logger=logger, log_every_n_steps=1
    )
    trainer.fit(tiny_task(), datamodule=TinyData(train=samples, batch_size=2))
    found = costs(tmp_path)
    validations = 2 * 3 * 0.5  # not in the share: neither waiting nor training
    assert 20 * 0.05 / (found["seconds"] - validations) <= found["loader_wait_share"] < 1
    rows = list(csv.DictReader((Path(logger.log_dir) / "metrics.csv").open()))
    logged = [float(row["loader_wait_share"]) for row in rows if row["loader_wait_share"]]
    assert len(logged) == 10
    assert logged[-1] == pytest.approx(found["loader_wait_share"], abs=0.05)


def test_waiting_of_another_loader_is_unknown(tmp_path: Path) -> None:
    class OwnLoader(TinyData):
        def train_dataloader(self) -> Any:
            return DataLoader(self.dataset("train"), batch_size=2)

    trainer = tiny_trainer(tmp_path, callbacks=[TrainingCosts()])
    trainer.fit(tiny_task(), datamodule=OwnLoader())
    assert costs(tmp_path)["loader_wait_share"] is None
