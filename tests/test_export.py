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
from helpers.fake_data import blocks, save_image
from torch import nn

import refinenet_pl
from refinenet_pl.deployment import load_exported, running
from refinenet_pl.deployment.network import DeployableNetwork
from refinenet_pl.deployment.running import SUFFIXES
from refinenet_pl.deployment.writing import write
from refinenet_pl.errors import Fault, UserError
from refinenet_pl.images import read_image

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
    if form == "torch-export":  # as fast as the network: max-pooling is slow in the contiguous layout
        weights = [tensor for tensor in torch.export.load(file).state_dict.values() if tensor.ndim == 4]
        assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in weights)
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


def test_int8_is_calibrated_on_images(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter, generator = refinenet_pl.load(checkpoint), np.random.default_rng(0)
    differing = []
    for index, size in enumerate([(64, 96), (70, 50), (64, 96)]):
        save_image(tmp_path / "images" / f"{index}.png", blocks(size, range(12), seed=index))
    words = ("--format", "onnx", "--output", tmp_path / "int8.onnx", "--int8_images", tmp_path / "images")
    assert refinenet(monkeypatch, "export", checkpoint, *words) == 0
    printed = capsys.readouterr().out
    exported = load_exported(tmp_path / "int8.onnx")
    assert exported.class_names == segmenter.class_names
    for index in range(3):
        image = read_image(tmp_path / "images" / f"{index}.png")
        differing.append((exported(image[None])[0].argmax(0).numpy() != segmenter.predict(image)).ravel())
    share = np.concatenate(differing).mean()
    assert f"INT8; pixels of the 3 images with another class: {100 * share:.2f} %" in printed
    assert 0 < share < 0.15
    image = torch.from_numpy(generator.integers(0, 256, (2, 3, 75, 51), np.uint8))
    assert exported(image).shape == (2, len(segmenter.class_names), 75, 51)
    model = onnx.load(tmp_path / "int8.onnx")
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    weights = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.INT8}
    # x86 CPUs multiply unsigned activations with signed weights several times as fast as signed ones.
    zero_points = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    types = {tensor.data_type for tensor in model.graph.initializer if tensor.name in zero_points}
    assert types == {onnx.TensorProto.UINT8}


def test_int8_is_for_onnx(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refinenet(monkeypatch, "export", checkpoint, "--format", "openvino", "--int8_images", tmp_path) == 2
    assert "--int8_images: found --format openvino; expected --format onnx" in capsys.readouterr().err
    assert refinenet(monkeypatch, "export", checkpoint, "--format", "onnx", "--int8_images", tmp_path / "no") == 2
    assert "no such file or folder; expected image files" in capsys.readouterr().err


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
