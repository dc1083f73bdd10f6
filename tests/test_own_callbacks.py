"""Callbacks of the user's work beside those of every run."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.commands import fit_options, only_run, refinenet

from refinenet_pl.runs import RunFolder

CALLBACKS = "pytorch_lightning.callbacks"


@pytest.fixture
def callbacks(tmp_path) -> Path:
    """A configuration of callbacks that save, stop, watch and time a training."""
    path = tmp_path / "callbacks.yaml"
    entries = [
        # It comes before the run's own, with the same monitor. Lower is better for it, so that it picks another epoch.
        {
            "class_path": f"{CALLBACKS}.ModelCheckpoint",
            "init_args": {
                "dirpath": str(tmp_path / "mine"), "filename": "{epoch}", "monitor": "val/miou", "mode": "min",
            },
        },
        {
            "class_path": f"{CALLBACKS}.EarlyStopping",
            "init_args": {"monitor": "val/miou", "patience": 1, "mode": "min"},
        },
        {"class_path": f"{CALLBACKS}.Timer"},
        {"class_path": f"{CALLBACKS}.OnExceptionCheckpoint", "init_args": {"dirpath": str(tmp_path / "fault")}},
        {"class_path": f"{CALLBACKS}.LearningRateMonitor", "init_args": {"logging_interval": "step"}},
    ]  # fmt: skip
    path.write_text(yaml.safe_dump({"trainer": {"callbacks": entries}}))
    return path


def test_own_callbacks_work_beside_those_of_a_run(callbacks, fake_camvid, tmp_path, monkeypatch):
    options = [*fit_options(fake_camvid, tmp_path / "runs"), f"--config={callbacks}", "--trainer.max_epochs=4"]
    assert refinenet(monkeypatch, "fit", *options, "--model.optimizer.lr=0.1") == 0
    run = RunFolder(only_run(tmp_path / "runs"))
    with run.metrics.open() as file:
        header, *rows = (line.rstrip("\n").split(",") for line in file)
    values = [float(row[header.index("val/miou")]) for row in rows if row[header.index("val/miou")]]
    assert any(name.startswith("lr-") for name in header)
    assert run.read_results()["miou"] == pytest.approx(max(values), abs=1e-6)
    (mine,) = (tmp_path / "mine").glob("*.ckpt")
    assert torch.load(mine, weights_only=False)["epoch"] == int(np.argmin(values))
    # With patience 1 and lower as better, the training stops after the first validation that does not fall.
    falls = [second < first for first, second in pairwise(values)]
    assert all(falls[:-1])
    assert not (tmp_path / "fault").exists() or not list((tmp_path / "fault").iterdir())


def test_checkpoint_of_an_exception_is_saved(callbacks, fake_camvid, tmp_path, monkeypatch, capsys):
    (tmp_path / "breaks_once.py").write_text(
        "from pytorch_lightning import Callback\n\n\n"
        "class Breaks(Callback):\n"
        "    def on_train_batch_end(self, trainer, *_):\n"
        "        if trainer.global_step == 3:\n"
        "            raise ZeroDivisionError('planted')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config = yaml.safe_load(callbacks.read_text())
    config["trainer"]["callbacks"].append({"class_path": "breaks_once.Breaks"})
    callbacks.write_text(yaml.safe_dump(config))
    options = [*fit_options(fake_camvid, tmp_path / "runs"), f"--config={callbacks}", "--trainer.max_epochs=4"]
    with pytest.raises(ZeroDivisionError, match="planted"):
        refinenet(monkeypatch, "fit", *options)
    (saved,) = (tmp_path / "fault").glob("*.ckpt")
    assert torch.load(saved, weights_only=False)["global_step"] == 3
