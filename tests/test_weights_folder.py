"""Weights folders: smp reads them, writes are atomic, and errors say what does not fit."""

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
from refinenet_pl.weights.folder import load_weights, network_config, read_preprocessing
from refinenet_pl.weights.trust import network_class

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
    """A weights folder with a tiny network."""
    write_weights_folder(tmp_path / "folder", NETWORKS["LightWeightRefineNet"](), PREPROCESSING, "# Card\n")
    return tmp_path / "folder"


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())
def test_saved_network_loads_unchanged(make: Callable[[], Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias)
    network.to(memory_format=torch.channels_last).eval()
    write_weights_folder(tmp_path / "folder", network, PREPROCESSING, "# Card\n")
    loaded, preprocessing = load_weights_folder(tmp_path / "folder")
    by_smp = type(network).from_pretrained(tmp_path / "folder", strict=True)
    network.to(memory_format=torch.contiguous_format)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        for copy in (loaded, by_smp):
            assert torch.equal(copy(images), network(images))
    assert json.loads((tmp_path / "folder" / "preprocessing.json").read_text()) == {
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "class_names": ["ground", "sky", "tree"],
        "class_colors": [[0, 0, 0], [128, 0, 0], [0, 128, 0]],
        "pixel_range": [0.0, 1.0],
        "image_scale": 1.0,
    }
    assert preprocessing.class_names == PREPROCESSING.class_names


def test_weights_are_float32(tmp_path: Path) -> None:
    network = NETWORKS["FPN"]().half()
    write_weights_folder(tmp_path / "folder", network, PREPROCESSING, "# Card\n")
    weights = load_file(tmp_path / "folder" / "model.safetensors")
    assert {value.dtype for key, value in weights.items() if "num_batches" not in key} == {torch.float32}


def test_files_have_usual_permissions(folder: Path) -> None:
    (folder.parent / "any").touch()
    assert {path.stat().st_mode for path in folder.iterdir()} == {(folder.parent / "any").stat().st_mode}


def test_nonempty_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        write_weights_folder(tmp_path, NETWORKS["FPN"](), PREPROCESSING, "# Card\n")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        write_weights_folder(tmp_path / "folder", nn.Conv2d(1, 1, 1), PREPROCESSING, "# Card\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("preprocessing.json", {"image_scale": 1.2}, r"image_scale 1\.2; expected"),
        ("preprocessing.json", {"pixel_range": [0, 255]}, r"pixel_range \[0, 255\]"),
        ("preprocessing.json", {"gamma": 2}, "gamma"),
        ("config.json", {"_model_class": "Linear"}, r"config\.json: found the network class Linear; expected"),
        ("config.json", {"classes": 4}, r"segmentation_head\.0\.weight is \(3, 16, 3, 3\), expected \(4, 16, 3, 3\)"),
    ],
)
def test_unsupported_values_are_refused(file: str, change: dict[str, Any], words: str, folder: Path) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=words):
        load_weights_folder(folder)


@pytest.mark.parametrize("file", ["config.json", "preprocessing.json", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"[not what it should be"], ids=["missing", "damaged"])
def test_damaged_file_is_named(file: str, content: bytes | None, folder: Path) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=file):
        load_weights_folder(folder)


def test_paths_may_be_text(folder: Path) -> None:
    network, _ = load_weights_folder(str(folder))
    load_weights(network, str(folder))
    assert network_config(str(folder))[0] is LightWeightRefineNet
    assert read_preprocessing(str(folder)) == read_preprocessing(folder)
    write_weights_folder(f"{folder}2", network, PREPROCESSING, "# Card\n")


def test_unknown_argument_is_refused(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"colour": 1}))
    with pytest.raises(UserError, match=r"config\.json: cannot build LightWeightRefineNet.*colour"):
        load_weights_folder(folder)


@pytest.mark.parametrize(
    "name",
    ["RefineNet", "refinenet_pl.networks.RefineNet", "refinenet_pl.RefineNet", "segmentation_models_pytorch.FPN"],
)
def test_known_network_classes(name: str) -> None:
    assert network_class(name).__name__ == name.rpartition(".")[2]


@pytest.mark.parametrize("name", ["Linear", "networks", "encoders", "None", "mycode.RefineNet", "refinenet_pl.FPN"])
def test_other_network_classes_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"network class {name};.*network=YourNetwork"):
        network_class(name)
