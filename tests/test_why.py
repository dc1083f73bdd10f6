"""`refinenet why` names where two trainings part."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import fit_options, only_run, refinenet
from helpers.planted import edited
from helpers.probes import same
from helpers.tiny_fit import TinyData, tiny_task, tiny_trainer
from PIL import Image

from refinenet_pl.networks import LightWeightRefineNet
from refinenet_pl.runs import RunFolder
from refinenet_pl.training.first_steps import FirstSteps
from refinenet_pl.training.run_differences import step_difference

pytestmark = pytest.mark.slow  # many trainings in processes of their own

# Whole images, so that a planted pixel is seen. Nothing is validated.
BASE = (
    "--trainer.max_steps=3",
    "--trainer.limit_val_batches=0",
    "--data.crop_size=[48,64]",
    "--data.scale_range=[1,1]",
)


def train(root: Path, runs: Path, *options: str) -> Path:
    """Train three steps; return the run folder."""
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, "fit", *fit_options(root, runs), *BASE, *options) == 0
    return only_run(runs)


@pytest.fixture(scope="module")
def base_run(fake_camvid, tmp_path_factory):
    """The run that all others are compared with. Tests must not write to it."""
    return train(fake_camvid, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def why(base_run, monkeypatch, capsys) -> Callable[[Path], tuple[int, str, str]]:
    """Compare a run with the base run; return the status, the lines on settings and the line on steps."""

    def compare(run: Path) -> tuple[int, str, str]:
        capsys.readouterr()
        status = refinenet(monkeypatch, "why", base_run, run)
        settings, _, steps = capsys.readouterr().out.partition("first steps: ")
        return status, settings, steps

    return compare


def copy_data(root: Path, folder: Path) -> Path:
    return Path(shutil.copytree(root, folder / "copy"))


def change_corner(file: Path, value: int | tuple[int, ...]) -> None:
    """Change one pixel of an image."""
    with Image.open(file) as image:
        array = np.array(image)
    array[0, 0] = value
    Image.fromarray(array).save(file)


def encoder_weights(folder: Path) -> str:
    """Save an encoder of another seed."""
    torch.manual_seed(5)
    network = LightWeightRefineNet("tu-test_resnet.r160_in1k", encoder_weights=None)
    torch.save(network.encoder.state_dict(), folder / "encoder.pth")
    return str(folder / "encoder.pth")


def test_equal_runs(base_run, fake_camvid, tmp_path, why):
    """A second run of the seed, on a copy of the data in another folder."""
    status, settings, steps = why(train(copy_data(fake_camvid, tmp_path), tmp_path / "runs"))
    assert (status, steps) == (0, "no difference found in the first 3 steps\n")
    assert "no differences" in settings


PLANTED_OPTIONS = {
    "seed": (["--seed_everything=1"], "numerics.seed: 0 in A, 1 in B", "initial weights: encoder.model.conv1"),
    "augmentation": (
        ["--data.color_jitter=0.5"],
        "config.data.init_args.color_jitter: 0.0 in A, 0.5",
        "step 1, pixels",
    ),
    "learning rate": (
        ["--model.optimizer.lr=0.02"],
        "config.model.optimizer.init_args.lr: 0.001 in A, 0.02 in B",
        "step 2, activations of encoder.model.conv1: norm",
    ),
    "network argument": (
        ["--model.network.pooling=null"],
        "config.model.network.init_args.pooling",
        "initial weights: decoder",
    ),
    "dropout": (
        ["--model.network.dropout=0.1"],
        "dropout: 0.5 in A, 0.1 in B",
        "step 1, activations of decoder: norm ",
    ),
    "batch size": (["--data.batch_size=1", "--model.batch_norm=frozen"], "batch_size: 2 in A, 1", "step 1, samples"),
    "loss": (["--model.loss.label_smoothing=0.1"], "label_smoothing: 0.0 in A, 0.1 in B", "step 1, loss: 2."),
    "precision": (
        ["--trainer.precision=bf16-mixed"],
        "numerics.precision: 32-true in A, bf16",
        "step 1, activations of",
    ),
    "data module": (["--data=helpers.planted.Reversed"], "config.data.class_path", "step 1, samples or their order: "),
}


@pytest.mark.parametrize("planted", PLANTED_OPTIONS)
def test_option_is_named(planted, fake_camvid, tmp_path, why):
    options, setting, step = PLANTED_OPTIONS[planted]
    status, settings, steps = why(train(fake_camvid, tmp_path, *options))
    assert status == 1
    assert setting in settings
    assert steps.startswith(step)


def first_sample(run: Path) -> str:
    """Name of the first sample of a training."""
    return json.loads(RunFolder(run).first_steps.read_text())["steps"][0]["names"][0]


def test_pixel_is_named(base_run, fake_camvid, tmp_path, why):
    root, name = copy_data(fake_camvid, tmp_path), first_sample(base_run)
    change_corner(root / "train" / f"{name}.png", (1, 2, 3))
    status, _, steps = why(train(root, tmp_path / "runs"))
    assert status == 1
    assert f"step 1, pixels of {name}: " in steps


def test_label_is_named(base_run, fake_camvid, tmp_path, why):
    root, name = copy_data(fake_camvid, tmp_path), first_sample(base_run)
    file = root / "trainannot" / f"{name}.png"
    with Image.open(file) as image:
        label = np.array(image)[0, 0]
    change_corner(file, (label + 1) % 11)
    status, _, steps = why(train(root, tmp_path / "runs"))
    assert status == 1
    assert f"step 1, labels of {name}: " in steps


def test_missing_sample_is_named(fake_camvid, tmp_path, why):
    root = copy_data(fake_camvid, tmp_path)
    (root / "train" / "train_4.png").unlink()
    (root / "trainannot" / "train_4.png").unlink()
    status, settings, steps = why(train(root, tmp_path / "runs"))
    assert status == 1
    assert "data.train.samples: 5 in A, 4 in B" in settings
    assert "step 1, samples or their order" in steps


def test_initial_weights_are_named(fake_camvid, tmp_path, why):
    status, settings, steps = why(
        train(fake_camvid, tmp_path / "runs", f"--model.encoder_weights={encoder_weights(tmp_path)}")
    )
    assert status == 1
    assert "config.model.encoder_weights: None in A, " in settings
    assert steps.startswith("initial weights: encoder.model.conv1")
    assert "decoder" not in steps


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("packages/torch", "2.0.0", "packages.torch: "),
        ("machine/threads", 64, "machine.threads: "),
        ("machine/device", "NVIDIA H100", "machine.device: cpu in A, NVIDIA H100 in B"),
        ("code", {"commit": "0123", "dirty": True, "sources": "4567"}, "0123 with uncommitted changes in B"),
        ("numerics/deterministic_algorithms", True, "deterministic_algorithms: False in A, True in B"),
    ],
)
def test_manifest_is_compared(path, value, told, base_run, tmp_path, why):
    """What a test cannot change is changed in the file."""
    copy = RunFolder(Path(shutil.copytree(base_run, tmp_path / "copy")))
    copy.manifest.write_text(json.dumps(edited(json.loads(copy.manifest.read_text()), path, value)))
    status, settings, steps = why(copy.path)
    assert status == 1
    assert "1 difference\n" in settings
    assert told in settings
    assert steps == "no difference found in the first 3 steps\n"


def test_last_layers_gradient_is_first(base_run):
    """The backward pass starts at the last layer, which is the first place where gradients part."""
    record = json.loads(RunFolder(base_run).first_steps.read_text())
    names = list(record["steps"][0]["gradients"])
    step = record["steps"][0]
    for name in names[3], names[-2]:
        step = edited(step, f"gradients/{name}", {"norm": "0", "hash": "0"})
    changed = {**record, "steps": [step, *record["steps"][1:]]}
    found = step_difference(record, changed)
    assert found is not None
    assert found.startswith(f"step 1, gradient of {names[-2]}: norm ")


def test_other_folders_are_refused(base_run, tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "why", base_run, tmp_path) == 2
    assert f"{tmp_path / 'manifest.json'}" in capsys.readouterr().err


def test_fingerprint_has_no_paths(base_run, fake_camvid):
    """Nothing but the configuration tells where the data or the package is."""
    manifest = json.loads(RunFolder(base_run).manifest.read_text())
    del manifest["config"]
    text = json.dumps(manifest)
    assert str(fake_camvid) not in text
    assert str(Path(__file__).parent.parent) not in text
    assert manifest["data"]["train"]["samples"] == 5


def test_record_changes_no_figure(tmp_path):
    """The record of the first steps leaves the weights as they are without it."""
    tasks, record = [tiny_task(), tiny_task()], FirstSteps()
    for task, callbacks in zip(tasks, ([], [record]), strict=True):
        torch.manual_seed(3)
        tiny_trainer(tmp_path, callbacks=callbacks, max_epochs=3, limit_val_batches=0).fit(task, datamodule=TinyData())
    assert same(dict(tasks[0].state_dict()), dict(tasks[1].state_dict()))
    assert len(record.steps) == 3, "it stops observing after three of six steps"
    assert RunFolder(tmp_path).first_steps.is_file()


def test_resumed_training_keeps_the_record(tmp_path):
    """The record is of the first steps of a run, not of those after it was resumed."""
    run, checkpoint = RunFolder(tmp_path), tmp_path / "one.ckpt"
    first = tiny_trainer(tmp_path, callbacks=[FirstSteps()], max_epochs=1, limit_val_batches=0)
    first.fit(tiny_task(), datamodule=TinyData())
    first.save_checkpoint(checkpoint)
    assert len(json.loads(run.first_steps.read_text())["steps"]) == 2, "an epoch has two batches"
    before = run.first_steps.read_bytes()
    second = tiny_trainer(tmp_path, callbacks=[FirstSteps()], max_epochs=3, limit_val_batches=0)
    second.fit(tiny_task(), datamodule=TinyData(), ckpt_path=checkpoint, weights_only=True)
    assert second.global_step == 6
    assert run.first_steps.read_bytes() == before
