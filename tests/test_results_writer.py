"""What an evaluation leaves in its run folder, and what it prints."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from helpers.probes import predicted
from helpers.tiny_fit import CLASSES, SQUARE, TinyData, count_by_hand, tiny_sample, tiny_task, tiny_trainer
from rich.console import Console

import refinenet_pl
from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.boundary import BoundaryIoU, TrimapIoU
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.evaluation.results import summarize, summarize_boundaries, summarize_intervals
from refinenet_pl.training import results_writer
from refinenet_pl.training.results_writer import ResultsWriter


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A console that stands in for the terminal."""
    console = Console(file=StringIO(), record=True, width=80)
    monkeypatch.setattr(results_writer, "Console", lambda: console)
    return console


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """A configuration, saved in the run folder as the command line does."""
    content = {"seed_everything": 7, "trainer": {"max_epochs": 1}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    return content


@pytest.mark.parametrize(("command", "split"), [("validate", "val"), ("test", "test")])
def test_an_evaluation_writes_its_figures_with_all_that_they_were_made_with(
    tmp_path: Path, printed: Console, config: dict[str, Any], command: str, split: str
):
    task, data = tiny_task(), TinyData()
    trainer = tiny_trainer(tmp_path, callbacks=[ResultsWriter()])
    (logged,) = getattr(trainer, command)(task, datamodule=data, verbose=False)
    results = json.loads((tmp_path / "results.json").read_text())

    pairs = [(predicted(task, sample), sample["mask"].numpy()) for sample in data.splits[split]]
    figures = summarize(torch.from_numpy(count_by_hand(pairs, len(CLASSES))), CLASSES.names)
    boundary, trimap = BoundaryIoU(len(CLASSES)), TrimapIoU(len(CLASSES))
    for labels, truth in pairs:
        boundary.update(torch.from_numpy(labels), torch.from_numpy(truth))
        trimap.update(torch.from_numpy(labels), torch.from_numpy(truth))
    figures |= summarize_boundaries(boundary, trimap, CLASSES.names)
    assert {key: results[key] for key in figures} == figures
    assert results["miou"] == pytest.approx(logged[f"{split}/miou"], abs=1e-6)
    assert results["split"] == split
    assert results["images"] == 3
    assert results["seed"] == 7
    assert results["config"] == config
    assert results["seconds"] >= 0
    assert results["versions"]["torch"] == torch.__version__
    assert results["versions"]["pytorch_lightning"] == pl.__version__
    assert results["versions"]["refinenet_pl"] == refinenet_pl.__version__
    text = printed.export_text()
    assert f"{split}: 3 images" in text
    assert all(name in text for name in CLASSES.names)


@pytest.mark.usefixtures("config")
def test_validations_within_a_fit_write_no_results_but_one_after_it_does(tmp_path: Path, printed: Console):
    task, data = tiny_task(), TinyData()
    trainer = tiny_trainer(tmp_path, num_sanity_val_steps=2, callbacks=[ResultsWriter()])
    trainer.fit(task, datamodule=data)
    assert not (tmp_path / "results.json").exists()
    assert printed.export_text() == ""
    trainer.validate(task, datamodule=data, verbose=False)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["images"] == 3, "those of the fit are not among them"


@pytest.mark.usefixtures("config", "printed")
def test_a_class_that_is_nowhere_has_no_figure_in_the_results(tmp_path: Path):
    class Ground(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.eye(4)[0].view(1, 4, 1, 1).expand(len(images), 4, *images.shape[-2:])

    trainer = tiny_trainer(tmp_path, callbacks=[ResultsWriter()])
    data = TinyData(val=[tiny_sample(SQUARE, seed=0, values=(0, 1, IGNORE_INDEX))])
    trainer.validate(tiny_task(network=Ground()), datamodule=data, verbose=False)
    results = json.loads((tmp_path / "results.json").read_text())
    mask = data.splits["val"][0]["mask"]
    share = int((mask == 0).sum()) / int((mask != IGNORE_INDEX).sum())
    assert results["per_class_iou"] == {"ground": pytest.approx(share), "wall": 0.0, "roof": None, "sky": None}
    assert results["miou"] == pytest.approx(share / 2)


@pytest.mark.usefixtures("config", "printed")
def test_the_file_of_images_holds_each_ones_matrix_and_gives_the_intervals(tmp_path: Path):
    task, data = tiny_task(), TinyData()
    trainer = tiny_trainer(tmp_path, callbacks=[ResultsWriter()])
    trainer.validate(task, datamodule=data, verbose=False)
    images = ImageMatrices.load(tmp_path / "per_image.npz")
    assert images.class_names == CLASSES.names
    assert images.names == ["s10", "s11", "s12"]
    for index, sample in enumerate(data.splits["val"]):
        matrix = count_by_hand([(predicted(task, sample), sample["mask"].numpy())], len(CLASSES))
        np.testing.assert_array_equal(images.correct_pixels()[index], matrix.diagonal())
        np.testing.assert_array_equal(images.target_pixels()[index], matrix.sum(1))
        np.testing.assert_array_equal(images.predicted_pixels()[index], matrix.sum(0))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["confusion_matrix"] == images.total().tolist()
    assert results["intervals"] == summarize_intervals(images)
    low, high = results["intervals"]["miou"]
    assert low <= results["miou"] <= high


@pytest.mark.usefixtures("config", "printed")
def test_two_images_of_one_name_are_an_error_that_names_it(tmp_path: Path):
    trainer = tiny_trainer(tmp_path, callbacks=[ResultsWriter()])
    twice = TinyData(val=[tiny_sample(SQUARE, seed=3), tiny_sample(SQUARE, seed=3)])
    with pytest.raises(UserError, match="'s3'"):
        trainer.validate(tiny_task(), datamodule=twice, verbose=False)
