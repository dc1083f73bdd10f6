"""Pre-trained weights of encoders without a network."""

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
from helpers.commands import fit_options, refinenet
from huggingface_hub import constants

from refinenet_pl.errors import UserError
from refinenet_pl.networks.encoders import pixel_statistics
from refinenet_pl.networks.hub import check_hub

ENCODERS = [("mobilenet_v2", "imagenet"), ("tu-test_resnet.r160_in1k", True)]


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the port of a service that nobody runs
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def cache(tmp_path: Path, repository: str, revision: str, file: str) -> None:
    """Put a file where huggingface_hub's cache would have it."""
    folder = tmp_path / "cache" / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40 if revision == "main" else revision)
    snapshot.mkdir(parents=True)
    (snapshot / file).write_bytes(b"weights")
    if revision == "main":
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0" * 40)


@pytest.mark.parametrize(("name", "weights"), ENCODERS)
def test_missing_weights_are_told(name, weights, tmp_path):
    with pytest.raises(UserError) as told:
        check_hub(name, weights)
    assert str(told.value).startswith(f"encoder_weights: found {weights!r} for {name}; http://127.0.0.1:9 does not")
    assert f"not in the cache {tmp_path}/cache" in str(told.value)
    assert "--model.network.encoder_weights FILE" in str(told.value)


def test_fit_tells_missing_weights(tmp_path, monkeypatch, capsys):
    options = fit_options(tmp_path, tmp_path / "runs", "ScenesDataModule")
    options += ["--model.network.encoder_name=mobilenet_v2", "--model.network.encoder_weights=imagenet"]
    assert refinenet(monkeypatch, "fit", *options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--model.network.encoder_weights null" in error


def test_offline_mode_asks_no_server(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE forbids a download"):
        pixel_statistics("mobilenet_v2", "imagenet")


def test_cached_weights_need_no_hub(tmp_path):
    settings = smp.encoders.encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    cache(tmp_path, settings["repo_id"], settings["revision"], "model.safetensors")
    check_hub("mobilenet_v2", "imagenet")
    config = timm.get_pretrained_cfg("test_resnet.r160_in1k")
    assert config is not None
    cache(tmp_path, str(config.hf_hub_id), "main", "model.safetensors")
    check_hub("tu-test_resnet.r160_in1k", True)


def test_unknown_names_are_left_to_smp():
    check_hub("no_such_encoder", "imagenet")
    check_hub("mobilenet_v2", "no_such_weights")
