"""The files that an evaluation writes, and the table that it prints."""

import json
from dataclasses import asdict
from datetime import datetime
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.probes import predict
from helpers.tiny_fit import CLASSES, SQUARE, TinyData, count_by_hand, tiny_sample, tiny_task, tiny_trainer
from rich.console import Console

import refinenet_pl
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.data.loaders import evaluation_loader
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.boundary import BoundaryIoU, TrimapIoU
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import summarize, summarize_boundaries, summarize_intervals
from refinenet_pl.prediction_folder import PredictionFolder
from refinenet_pl.runs import RunFolder
from refinenet_pl.training import results_writer
from refinenet_pl.training.costs import TrainingCosts
from refinenet_pl.training.ema import EMA
from refinenet_pl.training.manifest import code
from refinenet_pl.training.picture_writer import PictureWriter
from refinenet_pl.training.prediction_writer import PredictionWriter
from refinenet_pl.training.results_writer import ResultsWriter


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A console that records instead of printing."""
    console = Console(file=StringIO(), record=True, width=80)
    monkeypatch.setattr(results_writer, "Console", lambda: console)
    return console


CONFIG = {"seed_everything": 7, "trainer": {"max_epochs": 1}}


@pytest.mark.parametrize(("command", "split"), [("validate", "val"), ("test", "test")])
def test_writes_metrics_and_their_origin(tmp_path: Path, printed: Console, command: str, split: str):
    task, data = tiny_task(), TinyData()
    trainer = tiny_trainer(tmp_path, callbacks=[ResultsWriter(CONFIG, "refinenet x")])
    (logged,) = getattr(trainer, command)(task, datamodule=data, verbose=False)
    results = json.loads(RunFolder(tmp_path).results.read_text())

    pairs = [(predict(task, sample), sample["mask"].numpy()) for sample in data.splits[split]]
    metrics = summarize(torch.from_numpy(count_by_hand(pairs, len(CLASSES))), CLASSES.names)
    boundary, trimap = BoundaryIoU(len(CLASSES)), TrimapIoU(len(CLASSES))
    for prediction, target in pairs:
        boundary.update(torch.from_numpy(prediction), torch.from_numpy(target))
        trimap.update(torch.from_numpy(prediction), torch.from_numpy(target))
    metrics |= summarize_boundaries(boundary, trimap, CLASSES.names)
    assert {key: results[key] for key in metrics} == metrics
    assert results["miou"] == pytest.approx(logged[f"{split}/miou"], abs=1e-6)
    assert results["split"] == split
    assert results["images"] == 3
    assert results["seed"] == 7
    assert results["config"] == CONFIG
    assert results["seconds"] >= 0
    origin = results["origin"]
    assert origin["checkpoint"] == {"path": None, "step": None}
    assert origin["command"] == "refinenet x"
    assert origin["inference"] == {**asdict(Inference()), "scales": [1.0]}
    assert origin["code"]["sources"] == code(Path(refinenet_pl.__file__).parent)["sources"]
    assert abs((datetime.now().astimezone() - datetime.fromisoformat(origin["date"])).total_seconds()) < 600
    assert results["versions"]["torch"] == torch.__version__
    assert results["versions"]["pytorch_lightning"] == pl.__version__
    assert results["versions"]["refinenet_pl"] == refinenet_pl.__version__
    text = printed.export_text()
    assert f"{split}: 3 images" in text
    assert all(name in text for name in CLASSES.names)


def test_fit_itself_writes_no_results(tmp_path: Path, printed: Console):
    task, data = tiny_task(), TinyData()
    trainer = tiny_trainer(tmp_path, num_sanity_val_steps=2, callbacks=[ResultsWriter()])
    trainer.fit(task, datamodule=data)
    assert not RunFolder(tmp_path).results.exists()
    assert printed.export_text() == ""
    trainer.validate(task, datamodule=data, verbose=False)
    results = json.loads(RunFolder(tmp_path).results.read_text())
    assert results["images"] == 3, "without those of the fit"


@pytest.mark.usefixtures("printed")
def test_absent_classes_are_null(tmp_path: Path):
    class Ground(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.eye(4)[0].view(1, 4, 1, 1).expand(len(images), 4, *images.shape[-2:])

    trainer = tiny_trainer(tmp_path, callbacks=[ResultsWriter()])
    data = TinyData(val=[tiny_sample(SQUARE, seed=0, values=(0, 1, IGNORE_INDEX))])
    trainer.validate(tiny_task(network=Ground()), datamodule=data, verbose=False)
    results = json.loads(RunFolder(tmp_path).results.read_text())
    mask = data.splits["val"][0]["mask"]
    share = int((mask == 0).sum()) / int((mask != IGNORE_INDEX).sum())
    assert results["per_class_iou"] == {"ground": pytest.approx(share), "wall": 0.0, "roof": None, "sky": None}
    assert results["miou"] == pytest.approx(share / 2)


@pytest.mark.usefixtures("printed")
def test_matrices_per_image(tmp_path: Path):
    task, data = tiny_task(), TinyData()
    trainer = tiny_trainer(tmp_path, callbacks=[ResultsWriter()])
    trainer.validate(task, datamodule=data, verbose=False)
    images = ImageMatrices.load(RunFolder(tmp_path).per_image)
    assert images.class_names == CLASSES.names
    assert images.names == ["s10", "s11", "s12"]
    for index, sample in enumerate(data.splits["val"]):
        matrix = count_by_hand([(predict(task, sample), sample["mask"].numpy())], len(CLASSES))
        np.testing.assert_array_equal(images.correct_pixels()[index], matrix.diagonal())
        np.testing.assert_array_equal(images.target_pixels()[index], matrix.sum(1))
        np.testing.assert_array_equal(images.predicted_pixels()[index], matrix.sum(0))
    results = json.loads(RunFolder(tmp_path).results.read_text())
    assert results["confusion_matrix"] == images.total().tolist()
    assert results["intervals"] == summarize_intervals(images)
    low, high = results["intervals"]["miou"]
    assert low <= results["miou"] <= high


@pytest.mark.usefixtures("printed")
def test_several_images_at_a_time_give_the_same_figures(tmp_path: Path):
    sizes = [SQUARE, SQUARE, (48, 33), (48, 33), SQUARE]
    data, task = TinyData(val=[tiny_sample(size, seed) for seed, size in enumerate(sizes)]), tiny_task()
    found, batches = {}, []
    forward_logits = task.network.forward_logits
    task.network.forward_logits = lambda images: batches.append(len(images)) or forward_logits(images)  # type: ignore
    for size in (1, 3, 8):
        data.eval_batch_size = size
        folder = tmp_path / str(size)
        trainer = tiny_trainer(folder, callbacks=[ResultsWriter(), PictureWriter(4)])
        trainer.validate(task, datamodule=data, verbose=False)
        assert {path.stem for path in (folder / "pictures").iterdir()} == {"s0", "s1", "s2", "s3"}
        found[size] = RunFolder(folder).read_results() | {"seconds": None, "origin": None}
        assert ImageMatrices.load(RunFolder(folder).per_image).names == [f"s{seed}" for seed in range(5)]
    assert batches == [1, 1, 1, 1, 1, 2, 1, 1, 1, 2, 2, 1]
    assert found[1] == found[3] == found[8]


@pytest.mark.usefixtures("printed")
def test_refuses_two_images_of_one_name(tmp_path: Path):
    trainer = tiny_trainer(tmp_path, callbacks=[ResultsWriter()])
    twice = TinyData(val=[tiny_sample(SQUARE, seed=3), tiny_sample(SQUARE, seed=3)])
    with pytest.raises(UserError, match="'s3'"):
        trainer.validate(tiny_task(), datamodule=twice, verbose=False)


@pytest.mark.usefixtures("printed")
@pytest.mark.parametrize("seed", [None, 5])
def test_plain_script_needs_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int | None):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    if seed is not None:
        pl.seed_everything(seed)
    task, data, run = tiny_task(), TinyData(), RunFolder(tmp_path)
    callbacks = [
        ResultsWriter(),
        PictureWriter(),
        TrainingCosts(),
        EMA(),
        PredictionWriter(PredictionFolder(tmp_path / "out")),
    ]
    trainer = tiny_trainer(tmp_path, callbacks=callbacks)
    trainer.fit(task, datamodule=data)
    (logged,) = trainer.validate(task, datamodule=data, verbose=False)
    results = run.read_results()
    assert results["miou"] == pytest.approx(logged["val/miou"], abs=1e-6)
    assert results["seed"] == seed
    assert "config" not in results
    assert run.per_image.is_file()
    assert run.costs.is_file()
    assert len(list(run.pictures.iterdir())) == 3
    images = [{"image": sample["image"], "name": sample["name"]} for sample in data.splits["val"]]
    trainer.predict(task, evaluation_loader(images, num_workers=0), return_predictions=False)  # type: ignore[arg-type]
    assert len(list((tmp_path / "out").rglob("*.png"))) == 6
