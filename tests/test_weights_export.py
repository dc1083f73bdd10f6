"""Weights folders and model cards from checkpoints, without a training."""

import json
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import PREPROCESSING, run_settings, small_network, write_checkpoint

from refinenet_pl import data, load
from refinenet_pl.errors import UserError
from refinenet_pl.weights.export import dataset_classes, run_results, write_exported

RESULTS = {
    "split": "val",
    "images": 7,
    "seed": 0,
    "miou": 0.5,
    "pixel_accuracy": 0.75,
    "mean_accuracy": None,
    "per_class_iou": {"ground": 0.25, "sky": 0.75, "tree": None},
    "versions": {"torch": "2.6"},
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The best checkpoint of a finished run."""
    run = tmp_path / "run"
    path = write_checkpoint(run / "checkpoints" / "best.ckpt", small_network(), averaging_state={})
    (run / "config.yaml").touch()
    (run / "results.json").write_text(json.dumps(RESULTS))
    return path


def test_exported_folder_loads_unchanged(checkpoint: Path, tmp_path: Path) -> None:
    folder, weights = write_exported(str(checkpoint), str(tmp_path / "small"))
    assert weights == "`best.ckpt`, epoch 2, step 12, averaged over the training"
    expected, state = load(checkpoint).network.state_dict(), load(folder).network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in state.items())
    assert json.loads((folder / "preprocessing.json").read_text()) == PREPROCESSING


def test_card_states_run_and_metrics(checkpoint: Path, tmp_path: Path) -> None:
    folder, weights = write_exported(checkpoint, tmp_path / "small")
    card = (folder / "README.md").read_text()
    for words in (
        "# small",
        "from refinenet_pl import load",
        "CamVidDataModule(root=camvid)",
        "- network: `LightWeightRefineNet(classes=3, decoder_channels=[16, 16, 16, 16]",
        "- mean: `[0.4, 0.5, 0.6]`",
        "- loss: `CrossEntropy`",
        "- schedule: `Poly`",
        "- max_epochs: `3`",
        f"- weights: {weights}",
        "## Metrics\n\nSplit `val`, 7 images, seed 0.",
        "| ground | 25.00 |\n| sky | 75.00 |\n| tree | – |\n| **mean IoU** | 50.00 |\n",
        "torch 2.6",
        "CC BY-NC 4.0",
    ):
        assert words in card
    assert "class_names:" not in card
    assert "/home/me" not in card


def test_only_the_best_checkpoint_has_metrics(checkpoint: Path, tmp_path: Path) -> None:
    assert run_results(str(checkpoint)) == RESULTS
    last = checkpoint.rename(checkpoint.with_name("last.ckpt"))
    assert run_results(last) is None
    moved = last.rename(tmp_path / "best.ckpt")
    assert run_results(moved) is None


def test_unknown_data_has_unknown_terms(tmp_path: Path) -> None:
    config = run_settings() | {"data": {"class_path": "not_installed.MyData", "init_args": {}}}
    folder, _ = write_exported(write_checkpoint(tmp_path / "a.ckpt", small_network(), config), tmp_path / "small")
    assert "Terms of the data: Unknown." in (folder / "README.md").read_text()


def test_names_in_the_card_are_text(tmp_path: Path) -> None:
    config = run_settings() | {"experiment": "<b>a</b>", "seed_everything": "`\n# 0"}
    path = write_checkpoint(tmp_path / "a.ckpt", small_network(), config)
    write_exported(path, tmp_path / "folder")
    card = (tmp_path / "folder" / "README.md").read_text()
    assert r"# \<b>a\</b>" in card
    assert "- seed: `' # 0`" in card


def test_unknown_dataset_is_refused() -> None:
    with pytest.raises(UserError, match="found ade; expected one of ade20k, camvid, cityscapes"):
        dataset_classes("ade", 3)


@pytest.mark.parametrize("name", [name for name in data.__all__ if name != "SegmentationDataModule"])
def test_every_dataset_states_its_terms(name: str) -> None:
    assert getattr(data, name).terms != data.SegmentationDataModule.terms
