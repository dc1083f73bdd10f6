"""Segmenter: kinds of images, sizes, and equality with Inference."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_fit import CLASSES, tiny_network
from PIL import Image
from torch import nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import Inference
from refinenet_pl.evaluation.pictures import colorize, contours
from refinenet_pl.evaluation.segmenter import Segmenter, to_tensor
from refinenet_pl.preprocessing import Preprocessing

PREPROCESSING = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.3, 0.25), CLASSES.names, CLASSES.colors)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return tiny_network().eval()


@pytest.fixture(scope="module")
def segmenter(network: nn.Module) -> Segmenter:
    return Segmenter(network, PREPROCESSING)


def rgb(height: int = 50, width: int = 70) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def normalized(pixels: np.ndarray) -> torch.Tensor:
    scaled = (pixels / 255 - np.array(PREPROCESSING.mean)) / np.array(PREPROCESSING.std)
    return torch.from_numpy(scaled.transpose(2, 0, 1)).float()


@pytest.mark.parametrize("size", [(64, 64), (37, 91), (33, 32), (1, 1)])
def test_prediction_has_the_image_size(segmenter: Segmenter, size: tuple[int, int]):
    prediction = segmenter.predict(rgb(*size))
    assert (prediction.dtype, prediction.shape) == (np.uint8, size)
    assert prediction.max() < len(CLASSES)


@pytest.mark.parametrize(
    "inference", [Inference(), Inference(scales=(0.5, 1.0), flip=True), Inference(window=32, stride=(20, 30))]
)
def test_prediction_equals_inference(network: nn.Module, inference: Inference):
    segmenter = Segmenter(network, PREPROCESSING, inference)
    expected = inference.probabilities(network, normalized(rgb())[None])[0].numpy()
    probabilities = segmenter.probabilities(rgb())
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(0), np.ones((50, 70)), atol=1e-5)
    np.testing.assert_array_equal(segmenter.predict(rgb()), probabilities.argmax(0))


def test_predict_tensor_takes_another_inference(network: nn.Module, segmenter: Segmenter):
    image, inference = torch.from_numpy(rgb()).permute(2, 0, 1), Inference(scales=(0.5,), flip=True)
    other = segmenter.predict_tensor(image, inference)
    assert (other.dtype, other.shape) == (torch.uint8, (50, 70))
    np.testing.assert_array_equal(other, Segmenter(network, PREPROCESSING, inference).predict(image))
    assert not np.array_equal(other, segmenter.predict(image))


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_equal_arrays(segmenter: Segmenter, tmp_path: Path, kind: type):
    Image.fromarray(rgb()).save(tmp_path / "image.png")
    np.testing.assert_array_equal(segmenter.predict(kind(tmp_path / "image.png")), segmenter.predict(rgb()))


def test_tensors_equal_arrays():
    pixels = to_tensor(rgb())
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (3, 50, 70))
    np.testing.assert_array_equal(pixels.permute(1, 2, 0), rgb())
    assert to_tensor(pixels) is pixels
    np.testing.assert_array_equal(to_tensor(rgb()[:, ::-1]).permute(1, 2, 0), rgb()[:, ::-1])


def test_gray_array_repeats_channels():
    gray = rgb()[..., 0]
    np.testing.assert_array_equal(to_tensor(gray), [gray] * 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "LA", "CMYK", "I;16"])
def test_pil_images_equal_their_files(tmp_path: Path, mode: str):
    image = Image.fromarray(rgb()).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image.save(path)
    found = to_tensor(image)
    assert (found.dtype, found.shape) == (torch.uint8, (3, 50, 70))
    torch.testing.assert_close(found, to_tensor(path).as_subclass(torch.Tensor), rtol=0, atol=0)
    if mode in ("RGB", "RGBA"):
        np.testing.assert_array_equal(found.permute(1, 2, 0), rgb())
    elif mode in ("L", "LA", "I;16"):
        np.testing.assert_array_equal(found, [np.asarray(Image.fromarray(rgb()).convert("L"))] * 3)


def test_orientation_is_applied(tmp_path: Path):
    image = Image.fromarray(rgb())
    image.getexif()[0x0112] = 6  # turn by 90 degrees to the right
    image.save(tmp_path / "turned.png", exif=image.getexif())
    with Image.open(tmp_path / "turned.png") as opened:
        for found in (to_tensor(opened), to_tensor(tmp_path / "turned.png")):
            np.testing.assert_array_equal(found.permute(1, 2, 0), np.rot90(rgb(), -1))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (rgb().astype(np.float32), r"float32 \[50, 70, 3\]; expected uint8"),
        (rgb().transpose(2, 0, 1), r"uint8 \[3, 50, 70\]; expected uint8"),
        (np.zeros((5, 6, 4), np.uint8), r"\[5, 6, 4\]"),
        (np.zeros((1, 5, 6, 3), np.uint8), r"\[1, 5, 6, 3\]"),
        (np.array(["a"]), r"<U1 \[1\]"),
        (rgb() > 9, r"bool \[50, 70, 3\]; expected uint8"),
        (torch.zeros(3, 5, 6), r"torch\.float32 \[3, 5, 6\]"),
        (torch.zeros(1, 5, 6, dtype=torch.uint8), r"torch\.uint8 \[1, 5, 6\].*tensor \[3, H, W\]"),
        (torch.zeros(3, 0, 6, dtype=torch.uint8), "no pixels"),
        ([[0, 1]], "found list; expected a path"),
        (Image.fromarray(np.zeros((2, 2), np.float32)), "PIL image of mode F"),
        ("missing.png", "missing.png: cannot be read"),
    ],
)
def test_wrong_inputs_are_refused(segmenter: Segmenter, image: Any, words: str):
    for method in (segmenter.predict, segmenter.probabilities, segmenter.overlay):
        with pytest.raises(UserError, match=words):
            method(image)


def test_overlay_blends_class_colors(segmenter: Segmenter):
    mask = segmenter.predict(rgb())
    colors, inside = colorize(mask, CLASSES.colors), ~contours(mask)
    for opacity in (0.0, 0.3, 1.0):
        image = segmenter.overlay(rgb(), opacity)
        assert (image.mode, image.size) == ("RGB", (70, 50))
        exact = (1 - opacity) * rgb().astype(float) + opacity * colors.astype(float)
        assert np.abs(np.asarray(image) - exact)[inside].max() <= 0.5 + 1e-4
        np.testing.assert_array_equal(np.asarray(image)[~inside], colors[~inside])


def test_overlay_needs_class_colors(network: nn.Module):
    with pytest.raises(UserError, match="class_colors is empty"):
        Segmenter(network, Preprocessing()).overlay(rgb())


def test_class_names_and_colors(segmenter: Segmenter):
    assert segmenter.class_names == list(CLASSES.names)
    assert segmenter.class_colors == list(CLASSES.colors)


def test_to_moves_network_and_normalization(network: nn.Module):
    segmenter = Segmenter(network, PREPROCESSING)
    assert segmenter.to("cpu") is segmenter
    meta = Segmenter(nn.Conv2d(3, 4, 1), PREPROCESSING).to(torch.device("meta"))
    assert meta.network.weight.is_meta
    assert meta.normalize.mean.is_meta


def test_moved_network_needs_no_to():
    network = nn.Conv2d(3, 4, 1)
    segmenter = Segmenter(network, PREPROCESSING)
    network.to("meta")
    assert segmenter.predict_tensor(torch.zeros(3, 5, 6, dtype=torch.uint8)).is_meta


def test_import_loads_no_lightning():
    code = (
        "import sys, refinenet_pl.evaluation.segmenter; "
        "print([name for name in sys.modules if name.split('.')[0] in ('pytorch_lightning', 'lightning')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
