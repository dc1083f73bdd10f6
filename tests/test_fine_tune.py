"""`model.weights`: a new training from the weights of another one, also on other classes."""

from pathlib import Path

import pytest
import torch
from helpers.commands import TINY_NETWORK, fit_options, only_run, refinenet
from torch import Tensor

from refinenet_pl.networks import LightWeightRefineNet
from refinenet_pl.runs import RunFolder
from refinenet_pl.weights.transfer import transfer_weights

ENCODER = "tu-test_resnet.r160_in1k"


def network(classes: int, seed: int = 5) -> LightWeightRefineNet:
    torch.manual_seed(seed)
    return LightWeightRefineNet(ENCODER, encoder_weights=None, classes=classes)


def state_of(run: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(RunFolder(run).best_checkpoint)["state_dict"]
    return {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}


@pytest.mark.parametrize("form", ["run folder", "checkpoint", "weights folder"])
def test_classes_keep_their_rows(trained_run, form, tmp_path, monkeypatch):
    path = {"run folder": trained_run, "checkpoint": RunFolder(trained_run).best_checkpoint}.get(form)
    if path is None:
        path = tmp_path / "exported"
        best = RunFolder(trained_run).best_checkpoint
        assert refinenet(monkeypatch, "weights", "export", best, "--output", path) == 0
    target = network(3)
    random = {key: value.clone() for key, value in target.state_dict().items()}
    transfer = transfer_weights(target, path, ["road", "cat", "sky"])
    assert set(transfer.rows) == {"road", "sky"}
    assert not transfer.left_out
    assert not transfer.missing
    source, result = state_of(trained_run), target.state_dict()
    for key, value in result.items():
        if key.startswith("segmentation_head."):
            # CamVid: sky is class 0, road is class 3.
            assert torch.equal(value[0], source[key][3])
            assert torch.equal(value[2], source[key][0])
            assert torch.equal(value[1], random[key][1])
        else:
            assert torch.equal(value, source[key])


def test_equal_numbers_of_classes_go_by_name(trained_run):
    target = network(11)
    names = [f"class {index}" for index in range(10)] + ["sky"]
    random = target.state_dict()["segmentation_head.0.weight"].clone()
    transfer_weights(target, trained_run, names)
    weight, source = target.state_dict()["segmentation_head.0.weight"], state_of(trained_run)
    assert torch.equal(weight[10], source["segmentation_head.0.weight"][0])
    assert torch.equal(weight[:10], random[:10])


def test_other_shapes_are_left_out_and_listed(trained_run):
    target = LightWeightRefineNet(ENCODER, encoder_weights=None, classes=11, decoder_channels=(32, 32, 32, 32))
    transfer = transfer_weights(target, trained_run, ["a"] * 11)
    assert transfer.left_out
    assert all(key.startswith(("decoder.", "segmentation_head.")) for key in transfer.left_out)
    assert "left out" in str(transfer)


def test_fine_tune_command(trained_run, fake_camvid, tmp_path, monkeypatch, caplog):
    best = RunFolder(trained_run).best_checkpoint
    options = [*fit_options(fake_camvid, tmp_path), f"--model.weights={best}", "--trainer.max_epochs=1"]
    frozen = ["--model.optimizer=SGD", "--model.optimizer.lr=0", "--model.batch_norm=frozen"]
    assert refinenet(monkeypatch, "fit", *options, *frozen) == 0
    run = RunFolder(only_run(tmp_path))
    weights, source = state_of(run.path), state_of(trained_run)
    assert all(torch.equal(weights[key], source[key]) for key in source if key.startswith("encoder."))
    # The file is not needed again.
    monkeypatch.chdir(tmp_path)
    config = run.read_config()
    assert config["model"]["weights"] == str(best)


@pytest.mark.parametrize("form", ["checkpoint", "weights folder"])
def test_encoder_weights_from_a_checkpoint(trained_run, form, tmp_path, monkeypatch):
    path = RunFolder(trained_run).best_checkpoint
    if form == "weights folder":
        assert refinenet(monkeypatch, "weights", "export", path, "--output", tmp_path / "exported") == 0
        path = tmp_path / "exported" / "model.safetensors"
    loaded = LightWeightRefineNet(ENCODER, encoder_weights=str(path), classes=2).state_dict()
    source = state_of(trained_run)
    assert all(torch.equal(loaded[key], source[key]) for key in source if key.startswith("encoder."))


def test_unknown_weights_are_refused(fake_camvid, tmp_path, monkeypatch, capsys):
    options = [*fit_options(fake_camvid, tmp_path / "runs"), f"--model.weights={tmp_path / 'none.ckpt'}"]
    assert refinenet(monkeypatch, "fit", *options, *TINY_NETWORK) == 2
    assert "model.weights: no file" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
