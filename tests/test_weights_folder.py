"""Weights folders: smp reads them, they are written whole or not at all, and what does not fit is refused in words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file
from torch import nn

from refinenet_pl.data.classes import voc_colors
from refinenet_pl.errors import UserError
from refinenet_pl.networks import FullyConvNet, LightWeightRefineNet, RefineNet
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.weights import load_weights_folder, write_weights_folder
from refinenet_pl.weights.folder import network_class

PREPROCESSING = Preprocessing(
    mean=[0.1, 0.2, 0.3],
    std=[0.4, 0.5, 0.6],
    class_names=["ground", "sky", "tree"],
    class_colors=[list(color) for color in voc_colors(3)],
)
TINY: dict[str, Any] = {"encoder_name": "tu-test_resnet.r160_in1k", "encoder_weights": None, "classes": 3}
WIDTHS: dict[str, Any] = {"decoder_channels": (16, 16, 16, 16)}
NETWORKS: dict[str, Callable[[], Any]] = {
    "RefineNet": lambda: RefineNet(**TINY, **WIDTHS, num_blocks=2, pooling=None, image_scales=(1.2, 0.6)),
    "LightWeightRefineNet": lambda: LightWeightRefineNet(**TINY, **WIDTHS, pooling="improved"),
    "MobileNet-v2": lambda: LightWeightRefineNet("mobilenet_v2", encoder_weights=None, classes=3, expand_first=True),
    "FullyConvNet": lambda: FullyConvNet(**TINY, output_stride=8),
    "FPN": lambda: smp.FPN(**TINY),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tiny network."""
    write_weights_folder(tmp_path / "folder", NETWORKS["LightWeightRefineNet"](), PREPROCESSING, "# Card\n")
    return tmp_path / "folder"


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())
def test_smp_and_we_read_the_network_back_as_it_was(make: Callable[[], Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias)
    network.to(memory_format=torch.channels_last).eval()
    write_weights_folder(tmp_path / "folder", network, PREPROCESSING, "# Card\n")
    loaded, preprocessing = load_weights_folder(tmp_path / "folder")
    smps = type(network).from_pretrained(tmp_path / "folder", strict=True)
    network.to(memory_format=torch.contiguous_format)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for again in (loaded, smps):
            assert torch.equal(again(images), network(images))
    assert json.loads((tmp_path / "folder" / "preprocessing.json").read_text()) == {
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "class_names": ["ground", "sky", "tree"],
        "class_colors": [[0, 0, 0], [128, 0, 0], [0, 128, 0]],
        "pixel_range": [0.0, 1.0],
        "image_scale": 1.0,
    }
    assert preprocessing.class_names == PREPROCESSING.class_names


def test_weights_are_written_in_float32(tmp_path: Path) -> None:
    network = NETWORKS["FPN"]().half()
    write_weights_folder(tmp_path / "folder", network, PREPROCESSING, "# Card\n")
    weights = load_file(tmp_path / "folder" / "model.safetensors")
    assert {value.dtype for key, value in weights.items() if "num_batches" not in key} == {torch.float32}


def test_the_folder_can_be_read_by_others_as_any_file(folder: Path) -> None:
    (folder.parent / "any").touch()
    assert {path.stat().st_mode for path in folder.iterdir()} == {(folder.parent / "any").stat().st_mode}


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        write_weights_folder(tmp_path, NETWORKS["FPN"](), PREPROCESSING, "# Card\n")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        write_weights_folder(tmp_path / "folder", nn.Conv2d(1, 1, 1), PREPROCESSING, "# Card\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("preprocessing.json", {"image_scale": 1.2}, r"image_scale 1\.2; expected"),
        ("preprocessing.json", {"pixel_range": [0, 255]}, r"pixel_range is \[0, 255\]"),
        ("preprocessing.json", {"gamma": 2}, "gamma"),
        ("config.json", {"_model_class": "Linear"}, "cannot hold a network Linear"),
        ("config.json", {"classes": 4}, r"segmentation_head\.0\.weight is \(3, 16, 3, 3\), expected \(4, 16, 3, 3\)"),
    ],
)
def test_what_is_not_understood_is_refused(file: str, change: dict[str, Any], words: str, folder: Path) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=words):
        load_weights_folder(folder)


@pytest.mark.parametrize("file", ["config.json", "preprocessing.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"[not what it should be"], ids=["missing", "damaged"])
def test_a_missing_or_damaged_file_is_named(file: str, content: bytes | None, folder: Path) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=file):
        load_weights_folder(folder)


@pytest.mark.parametrize("name", ["Linear", "networks", "encoders", "None"])
def test_only_our_networks_and_smps_are_known(name: str) -> None:
    with pytest.raises(UserError, match=name):
        network_class(name)
