"""What metrics.csv and TensorBoard hold of a training, also of a resumed one."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import fit_options, only_run, refinenet
from helpers.probes import copied, same
from helpers.tiny_fit import TinyData, tiny_task, tiny_trainer
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from refinenet_pl.cli import loggers
from refinenet_pl.data.camvid import CAMVID
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.evaluation.pictures import colorize
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.class_table import ClassTable
from refinenet_pl.training.costs import TrainingCosts
from refinenet_pl.training.finite import StopOnNonFinite
from refinenet_pl.training.losses import CrossEntropy, Dice, WeightedSum
from refinenet_pl.training.picture_logger import PictureLogger

TIMES = ("loader_wait_share", "images_per_second", "peak_memory_mb", "cost/")
LOSS = ["--model.loss=WeightedSum", "--model.loss.losses=[CrossEntropy,Dice]", "--model.loss.weights=[1.0,0.5]"]
STALE_STEP = 2


def rows(run: RunFolder) -> list[dict[str, str]]:
    with run.metrics.open(newline="") as file:
        return list(csv.DictReader(file))


def values(run: RunFolder) -> list[dict[str, str]]:
    """The rows without values that differ from time to time."""
    return [{name: value for name, value in row.items() if value and not name.startswith(TIMES)} for row in rows(run)]


@pytest.fixture(scope="module")
def runs(fake_camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """A whole training of two epochs without a logger, and one that was killed in its second epoch and resumed."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        options = ["--trainer.max_epochs=2", *LOSS]
        whole = [*fit_options(fake_camvid, folder / "whole"), *options, "--trainer.logger=false"]
        assert refinenet(patch, "fit", *whole) == 0
        parts = [
            *fit_options(fake_camvid, folder / "parts"),
            *options,
            "--trainer.logger=[TensorBoardLogger,CSVLogger]",
        ]
        stopped = ["--trainer.max_time=00:00:00:00", "--trainer.min_epochs=1"]
        assert refinenet(patch, "fit", *parts, *stopped) == 0
        run = RunFolder(only_run(folder / "parts"))
        with run.metrics.open("a") as file:
            file.write(f"{STALE_STEP},99.0\n")
        with SummaryWriter(str(run.tensorboard)) as writer:
            writer.add_scalar("train/loss", 99.0, STALE_STEP)
        assert refinenet(patch, "fit", "--ckpt_path", run.last_checkpoint, "--trainer.max_time=null") == 0
    return {"whole": RunFolder(only_run(folder / "whole")), "parts": run}


def test_resumed_metrics_are_those_of_a_whole_run(runs):
    assert values(runs["parts"]) == values(runs["whole"])
    steps = [int(row["step"]) for row in rows(runs["parts"])]
    assert steps == [0, 1, 1, 2, 3, 3, 4]
    assert [row["epoch"] for row in rows(runs["parts"])] == ["0", "0", "0", "1", "1", "1", ""]


def test_every_step_is_recorded(runs):
    steps = [row for row in rows(runs["whole"]) if row["train/loss"]]
    assert len(steps) == 4
    for row in steps:
        terms = [float(row[f"train/loss/{name}"]) for name in ("CrossEntropy", "Dice")]
        assert float(row["train/loss"]) == pytest.approx(sum(terms), rel=1e-6)
        assert row["lr"] == row["lr/encoder"] == row["lr/decoder"]
        assert all(float(row[name]) > 0 for name in ("grad_norm", "images_per_second", "peak_memory_mb"))


def test_csv_ends_with_results_and_costs(runs):
    *_, last = rows(runs["whole"])
    results, costs = runs["whole"].read_results(), runs["whole"].read_costs()
    assert float(last["final/miou"]) == results["miou"]
    assert [float(last[f"final/miou/{end}"]) for end in ("low", "high")] == results["intervals"]["miou"]
    assert float(last["final/boundary_iou"]) == results["boundary_iou"]["mean"]
    assert int(last["cost/parameters"]) == costs["parameters"]
    assert not last["val/miou"]


@pytest.fixture(scope="module")
def events(runs) -> EventAccumulator:
    content = EventAccumulator(str(runs["parts"].tensorboard), {"scalars": 0, "images": 0, "tensors": 0})
    content.Reload()
    return content


def test_tensorboard_has_the_values_of_the_csv(runs, events):
    logged = rows(runs["parts"])
    for name in set(logged[0]) - {"step"}:
        expected = [(int(row["step"]), float(row[name])) for row in logged if row[name]]
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected], name


def test_tensorboard_has_tables_and_configuration(runs, events):
    tables = [event.tensor_proto.string_val[0].decode() for event in events.Tensors("val/classes/text_summary")]
    validations = [row for row in rows(runs["parts"]) if row["val/miou"]]
    assert len(tables) == len(validations) == 2
    first, second = ({name: rest for name, *rest in map(cells_of, table.splitlines()[2:])} for table in tables)
    for name in CAMVID.names:
        before, after = (100 * float(row[f"val/iou/{name}"]) for row in validations)
        assert first[name][:2] == [f"{before:.2f}", "–"]
        assert float(second[name][0]) == pytest.approx(after, abs=0.006)
        assert float(second[name][1]) == pytest.approx(after - before, abs=0.011), "the resumed part knows the last one"
    (text,) = events.Tensors("config/text_summary")[:1]
    assert "command: refinenet fit" in text.tensor_proto.string_val[0].decode()
    assert "final/classes/text_summary" in events.Tags()["tensors"]


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tensorboard_has_the_pictures(runs, events):
    tags = set(events.Tags()["images"])
    names = ["val_0", "val_1", "val_2"]
    assert tags == {*(f"pictures/{name}" for name in names), *(f"predictions/{name}" for name in names),
                    "final/confusion_matrix"}  # fmt: skip
    assert [event.step for event in events.Images("pictures/val_0")] == [1], "once, although the run was resumed"
    assert [event.step for event in events.Images("predictions/val_0")] == [1, 3]
    root = Path(runs["parts"].read_config()["data"]["init_args"]["root"])
    labels = np.asarray(Image.open(root / "valannot" / "val_0.png"))
    truth = np.where(labels == 11, IGNORE_INDEX, labels)
    shown = np.asarray(Image.open(io.BytesIO(events.Images("pictures/val_0")[0].encoded_image_string)))
    image, gap = np.asarray(Image.open(root / "val" / "val_0.png").convert("RGB")), np.full((48, 8, 3), 255)
    np.testing.assert_array_equal(shown, np.hstack([image, gap, colorize(truth, CAMVID.colors)]))


def test_missing_tensorboard_is_told_first(fake_camvid, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    options = [*fit_options(fake_camvid, tmp_path / "runs"), "--trainer.logger=TensorBoardLogger"]
    assert refinenet(monkeypatch, "fit", *options) == 2
    assert "pip install 'refinenet-pl[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


class LossOfLastValidation(pl.Callback):
    """Computes the loss of each validation sample alone, and weights it by the labeled pixels."""

    def __init__(self, side: int | None, loss: nn.Module) -> None:
        self.side = side
        self.losses: Any = loss.losses
        self.found: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        sums, pixels = torch.zeros(3), 0
        loader: Any = trainer.val_dataloaders
        for sample in loader.dataset:
            for image, target in tiles(sample, self.side):
                if pl_module.loss_resolution == "label":
                    logits = pl_module(image)
                else:
                    logits = pl_module.network.forward_logits(pl_module.normalize(image))
                    centers = [
                        ((torch.arange(new) + 0.5) * old / new).long()
                        for old, new in zip(target.shape[1:], logits.shape[2:], strict=True)
                    ]
                    target = target[:, centers[0]][:, :, centers[1]]
                labeled = int((target != IGNORE_INDEX).sum())
                both = [self.losses[0](logits, target), 0.5 * self.losses[1](logits, target)]
                sums += labeled * torch.stack([sum(both), *both])
                pixels += labeled
        self.found = dict(zip(("val/loss", "val/loss/CrossEntropy", "val/loss/Dice"), sums / pixels, strict=True))


def tiles(sample: dict[str, Any], side: int | None) -> Any:
    """Yield the image, or its parts of some size, as batches of one."""
    height, width = sample["mask"].shape
    for top in range(0, height, side or height):
        for left in range(0, width, side or width):
            part = (..., slice(top, top + (side or height)), slice(left, left + (side or width)))
            yield sample["image"][part][None], sample["mask"][part].long()[None]


@pytest.mark.parametrize(("resolution", "side"), [("label", None), ("logits", None), ("label", 32)])
def test_validation_loss_is_that_of_the_training(resolution, side, tmp_path):
    data = TinyData()
    if side:
        data.splits["val"] = data.splits["val"][1:2]  # 64 x 64, which windows without overlap cover
    loss = WeightedSum([CrossEntropy(), Dice()], [1.0, 0.5])
    task = tiny_task(loss=loss, loss_resolution=resolution, validation_inference=Inference(window=side, stride=side))
    by_hand = LossOfLastValidation(side, loss)
    trainer = tiny_trainer(tmp_path, callbacks=[by_hand])
    trainer.fit(task, datamodule=data)
    logged = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/loss")}
    assert logged == {name: pytest.approx(float(value), rel=1e-5) for name, value in by_hand.found.items()}


class Random(nn.Module):
    """A loss that draws random numbers."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        kept = target.where(torch.rand(target.shape) < 0.5, IGNORE_INDEX)
        return CrossEntropy()(logits, kept)


def test_tracking_changes_no_training(tmp_path):
    weights = []
    for tracked in (False, True):
        pl.seed_everything(1, verbose=False)
        task, data = tiny_task(1, loss=Random()), TinyData()
        logger = TensorBoardLogger(tmp_path) if tracked else False
        callbacks = [ClassTable(), PictureLogger(2), TrainingCosts(), StopOnNonFinite()] if tracked else []
        limit = {} if tracked else {"limit_val_batches": 0}
        trainer = tiny_trainer(tmp_path, callbacks=callbacks, logger=logger, max_epochs=3, log_every_n_steps=1, **limit)
        trainer.fit(task, datamodule=data)
        weights.append(copied(task))
    assert same(*weights)
