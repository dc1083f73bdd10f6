"""Inference with windows, scales and flips against whole images and plain torch."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from helpers.commands import fit_options, only_run, refinenet
from helpers.fake_data import make_camvid
from helpers.tiny_fit import CLASSES, tiny_network, tiny_sample, tiny_task
from jsonargparse import ArgumentParser
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import Inference
from refinenet_pl.evaluation.windows import WindowLogits, interpolate, split_axis
from refinenet_pl.networks import LightWeightRefineNet


class PixelNetwork(nn.Module):
    """Logits of each pixel depend on pixels up to `reach` away. Records the shapes of its inputs."""

    def __init__(self, reach: int = 0, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, classes, 2 * reach + 1, padding=reach)
        self.input_shapes: list[torch.Size] = []

    def forward(self, images: Tensor) -> Tensor:
        self.input_shapes.append(images.shape)
        return self.conv(images)


def make_image(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def softmax_of(network: nn.Module, image: Tensor) -> Tensor:
    return network(image[None])[0].softmax(0)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return tiny_network().eval()


SIZES = [(64, 64), (65, 97), (33, 130)]


@pytest.mark.parametrize("size", SIZES)
def test_single_view(network: nn.Module, size: tuple[int, int]) -> None:
    image = make_image(*size)
    expected = softmax_of(network, image)
    torch.testing.assert_close(Inference().probabilities(network, image), expected)
    prediction = Inference().predict(network, image)
    assert (prediction.dtype, prediction.shape) == (torch.uint8, size)
    assert torch.equal(prediction.long(), expected.argmax(0))


@pytest.mark.parametrize("size", SIZES)
def test_large_window_is_whole_image(network: nn.Module, size: tuple[int, int]) -> None:
    image = make_image(*size)
    for window in (size, (200, 200)):
        windowed = Inference(window=window).probabilities(network, image)
        torch.testing.assert_close(windowed, softmax_of(network, image))


@pytest.mark.parametrize("stride", [(16, 24), (7, 5), None])
def test_windows_equal_whole_image(stride: tuple[int, int] | None) -> None:
    network, image = PixelNetwork(), make_image(61, 83)
    windowed = Inference(window=(16, 24), stride=stride).probabilities(network, image)
    torch.testing.assert_close(windowed, softmax_of(network, image))


def test_windows_differ_only_at_edges() -> None:
    network, image = PixelNetwork(reach=2), make_image(48, 72)
    windowed = Inference(window=(24, 24), stride=(24, 24)).probabilities(network, image)
    inside = torch.ones(48, 72, dtype=torch.bool)
    inside[24 - 2 : 24 + 2] = False
    for edge in (24, 48):
        inside[:, edge - 2 : edge + 2] = False
    whole = softmax_of(network, image)
    torch.testing.assert_close(windowed[:, inside], whole[:, inside])
    assert (windowed - whole)[:, ~inside].abs().max() > 0.01


def test_one_number_means_squares(network: nn.Module) -> None:
    image, pairs = make_image(61, 83), Inference(window=(32, 32), stride=(20, 20))
    for window, stride in [(32, 20), ([32, 32], [20, 20]), (32, (20, 20))]:
        inference = Inference(window=window, stride=stride)  # type: ignore[arg-type]
        assert (inference.window_size, inference.window_stride) == ((32, 32), (20, 20))
        assert torch.equal(inference.probabilities(network, image), pairs.probabilities(network, image))


@pytest.mark.parametrize(("text", "size"), [("32", (32, 32)), ("[32, 48]", (32, 48)), ("null", None)])
def test_window_from_the_command_line(text: str, size: tuple[int, int] | None, tmp_path: Path) -> None:
    parser = ArgumentParser()
    parser.add_argument("--inference", type=Inference)
    (tmp_path / "inference.yaml").write_text(f"window: {text}\n")
    for arguments in ([f"--inference.window={text}"], [f"--inference={tmp_path / 'inference.yaml'}"]):
        assert parser.instantiate_classes(parser.parse_args(arguments)).inference.window_size == size


def test_overlapping_windows_are_averaged() -> None:
    network, image = PixelNetwork(reach=1), make_image(40, 50)
    total, count = torch.zeros(5, 40, 50), torch.zeros(40, 50)
    for top, left in itertools.product((0, 10, 20, 24), (0, 12, 24, 30)):
        total[:, top : top + 16, left : left + 20] += softmax_of(network, image[:, top : top + 16, left : left + 20])
        count[top : top + 16, left : left + 20] += 1
    windowed = Inference(window=(16, 20), stride=(10, 12)).probabilities(network, image)
    torch.testing.assert_close(windowed, total / count)


def test_windows_leave_no_seam(network: nn.Module) -> None:
    inference = Inference(window=(64, 64), stride=(32, 32))
    strip = make_image(64, 160)
    left = inference.probabilities(network, strip[:, :, :128])
    right = inference.probabilities(network, strip[:, :, 32:])
    # The same two windows cover these columns in both images.
    torch.testing.assert_close(left[:, :, 64:96], right[:, :, 32:64])
    constant = inference.probabilities(PixelNetwork(), torch.ones(3, 64, 128))
    torch.testing.assert_close(constant, constant[:, :1, :1].expand_as(constant))


def test_windows_are_batched() -> None:
    network = PixelNetwork()
    Inference(window=(32, 32), stride=(20, 20), windows_per_batch=4).predict(network, make_image(50, 80))
    assert network.input_shapes == [(4, 3, 32, 32), (4, 3, 32, 32)]  # rows at 0 and 18, columns at 0, 20, 40 and 48


@pytest.mark.parametrize("scales", [(0.5,), (1.5,), (0.4, 0.6, 0.8, 1.0, 1.2)])
def test_scales_are_averaged(network: nn.Module, scales: tuple[float, ...]) -> None:
    image = make_image(70, 90)
    expected = []
    for scale in scales:
        size = (round(70 * scale), round(90 * scale))
        resized = F.interpolate(image[None], size, mode="bilinear", antialias=scale < 1)
        with torch.no_grad():
            logits = network.forward_logits(resized)  # type: ignore[operator]
        expected.append(F.interpolate(logits, (70, 90), mode="bilinear")[0].softmax(0))
    mean, inference = torch.stack(expected).mean(0), Inference(scales=scales)
    torch.testing.assert_close(inference.probabilities(network, image), mean, atol=1e-5, rtol=1e-4)
    best = mean.gather(0, inference.predict(network, image).long()[None])[0]
    torch.testing.assert_close(best, mean.max(0).values, atol=1e-5, rtol=1e-4)


def test_flips_are_averaged(network: nn.Module) -> None:
    image = make_image(64, 90)
    flipped_back = softmax_of(network, image.flip(-1)).flip(-1)
    expected = (softmax_of(network, image) + flipped_back) / 2
    flipped = Inference(flip=True).probabilities(network, image)
    torch.testing.assert_close(flipped, expected)
    torch.testing.assert_close(Inference(flip=True).probabilities(network, image.flip(-1)).flip(-1), flipped)


@pytest.mark.parametrize("size", [(64, 64), (37, 91)])
def test_probabilities_sum_to_one(network: nn.Module, size: tuple[int, int]) -> None:
    inference = Inference(scales=(0.7, 1.0, 1.6), flip=True, window=(40, 48), stride=(13, 31), windows_per_batch=3)
    probabilities = inference.probabilities(network, make_image(*size))
    assert probabilities.shape == (len(CLASSES), *size)
    torch.testing.assert_close(probabilities.sum(0), torch.ones(size))


def test_windows_of_resized_image() -> None:
    network, image = PixelNetwork(), make_image(64, 80)
    inference = Inference(scales=(1.5,), window=(24, 30), stride=(24, 30))
    whole, windowed = Inference(scales=(1.5,)).probabilities(network, image), inference.probabilities(network, image)
    # At the edge between two windows, a pixel uses only the window that holds its center. The results differ there.
    inside = torch.ones(64, 80, dtype=torch.bool)
    for edge in (16, 32, 48):
        inside[edge - 1 : edge + 1] = False
    for edge in (20, 40, 60):
        inside[:, edge - 1 : edge + 1] = False
    torch.testing.assert_close(windowed[:, inside], whole[:, inside], atol=1e-5, rtol=1e-4)


def test_network_with_divisible_inputs() -> None:
    torch.manual_seed(0)
    network = smp.FPN("resnet18", encoder_weights=None, classes=3).eval()
    inference = Inference(scales=(0.75, 1.0), flip=True, window=(50, 50))
    torch.testing.assert_close(inference.probabilities(network, make_image(65, 97)).sum(0), torch.ones(65, 97))


@pytest.mark.parametrize(
    ("resized", "length", "side", "stride"), [(100, 100, 30, 20), (67, 100, 16, 16), (130, 90, 33, 7)]
)
def test_window_weights_sum_to_one(resized: int, length: int, side: int, stride: int) -> None:
    weights = torch.zeros(length)
    windows = split_axis(resized, length, side, stride, torch.device("cpu"))
    for window in windows:
        assert 0 <= window.window.start < window.window.stop <= resized
        assert window.window.stop - window.window.start == side
        assert ((window.position > 0) & (window.position < 1)).all()
        weights[window.pixels] += window.weight
    assert windows[-1].window.stop == resized
    torch.testing.assert_close(weights, torch.ones(length))


@pytest.mark.parametrize(("cells", "size"), [(25, 100), (25, 97), (30, 17), (1, 8)])
@pytest.mark.parametrize("dim", [1, 2])
def test_interpolation_matches_torch(cells: int, size: int, dim: int) -> None:
    values = make_image(cells, 6) if dim == 1 else make_image(6, cells)
    expected = F.interpolate(values[None], (size, 6) if dim == 1 else (6, size), mode="bilinear")[0]
    position = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    torch.testing.assert_close(interpolate(values, position, dim), expected)


def test_strips_form_upsampled_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refinenet_pl.evaluation.windows.STRIP_ELEMENTS", 3 * 97 * 5 + 1)  # five rows a strip
    logits = make_image(17, 25)
    rows, columns = (split_axis(side, side, side, 1, logits.device)[0] for side in (65, 97))
    strips = list(WindowLogits(logits, rows, columns).upsampled_strips())
    assert [strip.shape[1] for _, strip in strips] == [5] * 13
    expected = F.interpolate(logits[None], (65, 97), mode="bilinear")[0]
    torch.testing.assert_close(torch.cat([strip for _, strip in strips], 1), expected)


def peak_tensors(call: Callable[[], Any], folder: Path) -> int:
    """Measure the peak of bytes that tensors hold during a call, beyond those held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    profiler.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    memory = [event["args"] for event in events if event.get("name") == "[memory]"]
    return max(step["Total Allocated"] for step in memory) - (memory[0]["Total Allocated"] - memory[0]["Bytes"])


@pytest.mark.parametrize(
    ("options", "full_tensors"),
    [
        ({}, 0),
        ({"window": (64, 64)}, 1),
        ({"scales": (0.5, 1.0), "flip": True}, 1),
        ({"scales": (0.5, 1.0), "flip": True, "window": (64, 64)}, 1),
    ],
    ids=["one view", "windows", "scales and flip", "all"],
)
def test_peak_memory(
    options: dict[str, Any], full_tensors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refinenet_pl.evaluation.windows.STRIP_ELEMENTS", 2**14)
    torch.manual_seed(0)
    network = LightWeightRefineNet(
        "tu-test_resnet.r160_in1k", encoder_weights=None, classes=150, decoder_channels=(16, 16, 16, 16)
    ).eval()
    image, inference = make_image(128, 160), Inference(**options)
    batch = torch.randn(4, 3, 64, 64) if inference.window else image[None]
    with torch.no_grad():
        batch_peak = peak_tensors(lambda: network.forward_logits(batch), tmp_path)
    peak = peak_tensors(lambda: inference.predict(network, image), tmp_path)
    full = 4 * 150 * 128 * 160
    assert peak <= batch_peak + full_tensors * full + 0.1 * full  # the last term is for views, strips and predictions
    assert peak >= full_tensors * full


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scales": ()}, r"inference\.scales is \[\]"),
        ({"scales": (1.0, 0.0)}, r"inference\.scales is \[1\.0, 0\.0\]"),
        ({"stride": (8, 8)}, r"without inference\.window"),
        ({"stride": 8}, r"without inference\.window"),
        ({"window": (32, 32), "stride": (40, 8)}, "no pixel is left out"),
        ({"window": 32, "stride": 33}, r"stride is \[33, 33\] and inference\.window \[32, 32\]"),
        ({"window": (0, 32)}, r"window is \(0, 32\); expected one integer, 1 or more, or two"),
        ({"window": 0}, r"window is 0; expected one integer"),
        ({"window": True}, r"window is True; expected one integer"),
        ({"window": (1, 2, 3)}, r"window is \(1, 2, 3\); expected one integer"),
        ({"window": 32, "stride": 0.5}, r"stride is 0\.5; expected one integer"),
        ({"windows_per_batch": 0}, "windows_per_batch is 0"),
    ],
)
def test_invalid_arguments(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Inference(**options)


def test_task_uses_its_inference() -> None:
    inference = Inference(scales=(0.5, 1.0), flip=True)
    task = tiny_task(inference=inference).eval()
    sample = tiny_sample((64, 80), seed=3)
    expected = inference.predict(task.network, task.normalize(sample["image"][None])[0])
    assert torch.equal(task.predict_step(sample, 0), expected)
    assert not torch.equal(expected, Inference().predict(task.network, task.normalize(sample["image"][None])[0]))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run that evaluates with windows at two scales; return its folder."""
    folder = tmp_path_factory.mktemp("inference")
    camvid = make_camvid(folder / "camvid")
    inference = ["--model.inference.scales=[0.5,1.0]", "--model.inference.window=[32,32]"]
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, "fit", *fit_options(camvid, folder / "runs"), *inference, "--trainer.max_epochs=1") == 0
    return only_run(folder / "runs")


def read(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_validate_overrides_inference(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["validate", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}"]
    assert refinenet(monkeypatch, *arguments, "--runs", tmp_path / "same") == 0
    assert read(only_run(tmp_path / "same"))["confusion_matrix"] == read(run)["confusion_matrix"]
    whole = ["--model.inference.window=null", "--model.inference.scales=[1.0]"]
    assert refinenet(monkeypatch, *arguments, "--runs", tmp_path / "whole", *whole) == 0
    other = read(only_run(tmp_path / "whole"))
    assert other["config"]["model"]["inference"]["scales"] == [1.0]
    assert other["confusion_matrix"] != read(run)["confusion_matrix"]
