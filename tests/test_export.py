"""Exported files compute what the network computes, at any size, with the library of their format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.checkpoints import run_settings, small_network, write_checkpoint
from helpers.commands import refinenet
from torch import nn

import refinenet_pl
from refinenet_pl.deployment import load_exported, running
from refinenet_pl.deployment.network import DeployableNetwork
from refinenet_pl.deployment.running import SUFFIXES
from refinenet_pl.deployment.writing import write
from refinenet_pl.errors import Fault, UserError

FORMATS = ["torch-export", "onnx", "openvino"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("export") / "best.ckpt", small_network(), run_settings())


@pytest.mark.parametrize("form", FORMATS)
def test_command_exports_any_size(
    form: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refinenet(monkeypatch, "export", checkpoint, "--format", form) == 0
    file = tmp_path / f"best{SUFFIXES[form]}"
    assert f"{file.name}: images uint8 [N, 3, H, W] of any size" in capsys.readouterr().out
    exported, segmenter = load_exported(file), refinenet_pl.load(checkpoint)
    assert exported.class_names == segmenter.class_names
    for height, width in ((64, 96), (75, 51), (129, 64)):
        images = torch.randint(256, (2, 3, height, width), dtype=torch.uint8)
        found = exported(images)
        assert found.shape == (2, len(segmenter.class_names), height, width)
        for image, logits in zip(images, found, strict=True):
            expected = segmenter.probabilities(image)
            np.testing.assert_allclose(logits.softmax(0), expected, atol=1e-4)
    if form == "onnx":
        check_plain_onnx(file, segmenter.class_names)


def check_plain_onnx(file: Path, class_names: list[str]) -> None:
    """Check that a file needs nothing of this package."""
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["class_names"]) == class_names
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # the weights are inside
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert all(isinstance(images.shape[axis], str) for axis in (0, 2, 3))


@pytest.mark.parametrize(
    "form", ["torch-export", *(pytest.param(form, marks=pytest.mark.slow) for form in ("onnx", "openvino"))]
)
def test_classes_instead_of_logits(form: Any, checkpoint: Path, tmp_path: Path) -> None:
    segmenter = refinenet_pl.load(checkpoint)
    file = tmp_path / f"classes{SUFFIXES[form]}"
    assert write(DeployableNetwork(segmenter, argmax=True), segmenter.class_names, file, form) <= 1e-4
    image = torch.randint(256, (3, 70, 90), dtype=torch.uint8)
    found = load_exported(file)(image[None])
    assert found.dtype == torch.uint8
    assert found.shape == (1, 70, 90)
    assert (found[0].numpy() == segmenter.predict(image)).mean() > 0.999


def test_a_wrong_file_is_refused(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = DeployableNetwork(refinenet_pl.load(checkpoint))
    wrong = running.Exported(lambda images: network(images) * 1.01, [])
    monkeypatch.setattr("refinenet_pl.deployment.writing.load_exported", lambda path: wrong)
    with torch.no_grad(), pytest.raises(Fault, match=r"differs from the network by 0\.01"):
        write(network, [], tmp_path / "a.pt2", "torch-export")


@pytest.mark.slow
def test_smp_networks_of_any_size(tmp_path: Path) -> None:
    import segmentation_models_pytorch as smp

    from refinenet_pl.evaluation.segmenter import Segmenter
    from refinenet_pl.preprocessing import Preprocessing

    network: nn.Module = smp.FPN("tu-test_resnet.r160_in1k", encoder_weights=None, classes=3).eval()
    deployable = DeployableNetwork(Segmenter(network, Preprocessing()))
    assert write(deployable, ["a", "b", "c"], tmp_path / "fpn.onnx", "onnx") <= 1e-4


def test_missing_libraries_and_files(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"nothing\.onnx: expected a file that `refinenet export` wrote"):
        load_exported(tmp_path / "nothing.onnx")
    with pytest.raises(UserError, match=r"needs no_such_library .*refinenet-pl\[export\]"):
        running.library("no_such_library")
    assert refinenet(monkeypatch, "export", tmp_path / "nothing.ckpt", "--format", "onnx") == 2
    assert "no file or folder" in capsys.readouterr().err
