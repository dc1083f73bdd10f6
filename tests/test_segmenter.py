"""Segmenter: kinds of images, sizes, probabilities, overlays, and refused inputs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.fake_data import PALETTE, blocks
from helpers.tiny_fit import CLASSES, MEAN, STD, tiny_network
from PIL import Image
from torch import nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import Inference
from refinenet_pl.evaluation.pictures import overlay
from refinenet_pl.evaluation.segmenter import Segmenter, to_tensor
from refinenet_pl.preprocessing import Normalize, Preprocessing

PREPROCESSING = Preprocessing(MEAN, STD, CLASSES.names, CLASSES.colors)
INFERENCE = Inference(scales=(0.5, 1.0), flip=True)


def make_segmenter(inference: Inference | None = None) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(tiny_network().eval(), PREPROCESSING, inference)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return make_segmenter()


def make_pixels(height: int = 48, width: int = 64) -> np.ndarray:
    """Make an RGB image, uint8 [H, W, 3]."""
    return PALETTE[blocks((height, width), range(20), seed=0)]


def make_gray() -> np.ndarray:
    return make_pixels()[..., 0]


def save(folder: Path, image: Image.Image, **options: Any) -> Path:
    image.save(folder / "image.png", **options)
    return folder / "image.png"


@pytest.mark.parametrize("inference", [None, INFERENCE])
@pytest.mark.parametrize("size", [(48, 64), (65, 97), (33, 1), (1, 1)])
def test_equals_inference_on_normalized_image(inference: Inference | None, size: tuple[int, int]) -> None:
    segmenter, pixels = make_segmenter(inference), make_pixels(*size)
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    normalized = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    expected = (inference or Inference()).probabilities(segmenter.network, normalized)
    probabilities = segmenter.probabilities(pixels)
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (len(CLASSES), *size))
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(0), np.ones(size), atol=1e-5)
    prediction = segmenter.predict(pixels)
    assert (prediction.dtype, prediction.shape) == (np.uint8, size)
    exact = Normalize(PREPROCESSING)(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]
    np.testing.assert_array_equal(prediction, (inference or Inference()).predict(segmenter.network, exact))


KINDS: dict[str, Callable[[Path], Any]] = {
    "path": lambda folder: save(folder, Image.fromarray(make_pixels())),
    "str": lambda folder: str(save(folder, Image.fromarray(make_pixels()))),
    "PIL": lambda folder: Image.fromarray(make_pixels()),
    "RGBA": lambda folder: Image.fromarray(np.dstack([make_pixels(), make_gray()]), "RGBA"),
    "palette": lambda folder: Image.fromarray(make_pixels()).convert("P", palette=Image.Palette.ADAPTIVE),
    "array": lambda folder: make_pixels(),
    "flipped view": lambda folder: np.ascontiguousarray(make_pixels()[:, ::-1])[:, ::-1],
    "tensor": lambda folder: torch.from_numpy(make_pixels()).permute(2, 0, 1),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
def test_kinds_of_rgb_images(make: Callable[[Path], Any], segmenter: Segmenter, tmp_path: Path) -> None:
    image = make(tmp_path)
    assert torch.equal(to_tensor(image), torch.from_numpy(make_pixels()).permute(2, 0, 1))
    np.testing.assert_array_equal(segmenter.predict(image), segmenter.predict(make_pixels()))


GRAYS: dict[str, Callable[[], Any]] = {
    "PIL": lambda: Image.fromarray(make_gray()),
    "16 bits": lambda: Image.fromarray(make_gray().astype(np.uint16) * 257),
    "array": make_gray,
    "tensor": lambda: torch.from_numpy(make_gray()),
}


@pytest.mark.parametrize("make", GRAYS.values(), ids=GRAYS.keys())
def test_kinds_of_gray_images(make: Callable[[], Any], segmenter: Segmenter) -> None:
    expected = np.repeat(make_gray()[..., None], 3, axis=2)
    assert torch.equal(to_tensor(make()), torch.from_numpy(expected).permute(2, 0, 1))
    np.testing.assert_array_equal(segmenter.predict(make()), segmenter.predict(expected))


def test_files_are_turned_upright(segmenter: Segmenter, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    path = save(tmp_path, Image.fromarray(make_pixels(48, 64)), exif=exif)
    assert segmenter.predict(path).shape == (64, 48)
    assert segmenter.predict(Image.open(path)).shape == (48, 64)


def test_overlay(segmenter: Segmenter) -> None:
    pixels = make_pixels()
    blended = segmenter.overlay(pixels, opacity=0.25)
    assert blended.size == (64, 48)
    expected = overlay(pixels, segmenter.predict(pixels), CLASSES.colors, 0.25)
    np.testing.assert_array_equal(np.asarray(blended), expected)


def test_overlay_needs_colors() -> None:
    with pytest.raises(UserError, match="class_colors"):
        Segmenter(tiny_network(), Preprocessing()).overlay(make_pixels())


def test_to_returns_itself() -> None:
    segmenter = make_segmenter()
    assert segmenter.to("cpu") is segmenter
    assert segmenter.to(torch.device("cpu")) is segmenter


def test_input_follows_the_network() -> None:
    segmenter = make_segmenter()
    devices = []
    encoder: nn.Module = segmenter.network.to("meta").get_submodule("encoder")
    encoder.register_forward_pre_hook(lambda _, inputs: devices.append(inputs[0].device.type))
    with torch.no_grad():
        segmenter.predict_tensor(to_tensor(make_pixels()))
    assert devices == ["meta"]


def test_predict_tensor_with_other_inference(segmenter: Segmenter) -> None:
    image = to_tensor(make_pixels())
    expected = make_segmenter(INFERENCE).predict(make_pixels())
    np.testing.assert_array_equal(segmenter.predict_tensor(image, INFERENCE), expected)
    assert (segmenter.predict(make_pixels()) != expected).any()


def test_channels_last(segmenter: Segmenter) -> None:
    network = make_segmenter().network.to(memory_format=torch.channels_last)
    channels_last = Segmenter(network, PREPROCESSING, memory_format=torch.channels_last)
    expected = segmenter.probabilities(make_pixels())
    np.testing.assert_allclose(channels_last.probabilities(make_pixels()), expected, atol=1e-5)


def test_class_names_and_colors(segmenter: Segmenter) -> None:
    assert segmenter.class_names == list(CLASSES.names)
    assert segmenter.class_colors == [list(color) for color in CLASSES.colors]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (make_pixels() / 255, r"found an array of float64; expected uint8 with values 0\.\.255"),
        (make_pixels() > 9, r"found an array of bool; expected uint8"),
        (torch.rand(3, 8, 8), r"found a tensor of torch\.float32; expected uint8"),
        (np.zeros((8, 8, 4), np.uint8), r"an array of shape \[8, 8, 4\]; expected \[H, W, 3\], or \[H, W\] for gray"),
        (np.zeros((3, 8, 8), np.uint8), r"an array of shape \[3, 8, 8\]; expected \[H, W, 3\]"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"a tensor of shape \[8, 8, 3\]; expected \[3, H, W\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"a tensor of shape \[1, 3, 8, 8\]; expected \[3, H, W\]"),
        (np.zeros((0, 8, 3), np.uint8), r"an array of shape \[0, 8, 3\]"),
        (Image.fromarray(np.zeros((8, 8), np.float32)), "PIL image of mode F to RGB"),
        ([[0, 0, 0]], "found list; expected a path, a PIL image, an array or a tensor"),
        ("nowhere.png", r"nowhere\.png"),
    ],
)
def test_wrong_images_are_refused(image: Any, words: str, segmenter: Segmenter) -> None:
    for method in (segmenter.predict, segmenter.probabilities, segmenter.overlay):
        with pytest.raises(UserError, match=words):
            method(image)


def test_imports_no_lightning() -> None:
    code = "import sys, refinenet_pl.evaluation.segmenter; print([m for m in sys.modules if 'lightning' in m])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.split(".")[0] for name in eval(result.stdout)}
    assert modules <= {"lightning_utilities"}, "torchmetrics needs lightning_utilities, which is not Lightning"
