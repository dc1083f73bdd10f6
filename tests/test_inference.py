"""Inference: windows, scales and flips against whole-image inference and plain loops in torch."""

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
from helpers.tiny_fit import CLASSES, TinyData, tiny_network, tiny_sample, tiny_task, tiny_trainer
from jsonargparse import ArgumentError, ArgumentParser
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import Inference
from refinenet_pl.evaluation.windows import WindowLogits, interpolate, split_axis
from refinenet_pl.networks import LightWeightRefineNet


class PixelNetwork(nn.Module):
    """Logits from neighbors up to `reach` pixels away. Records the shapes of its inputs."""

    def __init__(self, reach: int = 0, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, classes, 2 * reach + 1, padding=reach)
        self.shapes: list[torch.Size] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shapes.append(images.shape)
        return self.conv(images)


def random_image(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def network_softmax(network: nn.Module, image: Tensor) -> Tensor:
    return network(image[None])[0].softmax(0)


@pytest.fixture(scope="module")
def refinenet_like() -> nn.Module:
    torch.manual_seed(0)
    return tiny_network().eval()


SIZES = [(64, 64), (65, 97), (33, 130)]


@pytest.mark.parametrize("size", SIZES)
def test_single_view_equals_network(refinenet_like: nn.Module, size: tuple[int, int]) -> None:
    image = random_image(*size)
    expected = network_softmax(refinenet_like, image)
    torch.testing.assert_close(Inference().probabilities(refinenet_like, image[None])[0], expected)
    prediction = Inference().predict(refinenet_like, image[None])[0]
    assert (prediction.dtype, prediction.shape) == (torch.uint8, size)
    assert torch.equal(prediction.long(), expected.argmax(0))


@pytest.mark.parametrize("size", SIZES)
def test_large_window_is_the_whole_image(refinenet_like: nn.Module, size: tuple[int, int]) -> None:
    image = random_image(*size)
    for window in (size, (200, 200)):
        windowed = Inference(window=window).probabilities(refinenet_like, image[None])[0]
        torch.testing.assert_close(windowed, network_softmax(refinenet_like, image))


@pytest.mark.parametrize("stride", [(16, 24), (7, 5), None])
def test_windows_equal_whole_image(stride: tuple[int, int] | None) -> None:
    network, image = PixelNetwork(), random_image(61, 83)
    windowed = Inference(window=(16, 24), stride=stride).probabilities(network, image[None])[0]
    torch.testing.assert_close(windowed, network_softmax(network, image))


def test_windows_differ_only_near_edges() -> None:
    network, image = PixelNetwork(reach=2), random_image(48, 72)
    windowed = Inference(window=(24, 24), stride=(24, 24)).probabilities(network, image[None])[0]
    inside = torch.ones(48, 72, dtype=torch.bool)
    inside[24 - 2 : 24 + 2] = False
    for edge in (24, 48):
        inside[:, edge - 2 : edge + 2] = False
    whole = network_softmax(network, image)
    torch.testing.assert_close(windowed[:, inside], whole[:, inside])
    assert (windowed - whole)[:, ~inside].abs().max() > 0.01


def test_overlapping_windows_are_averaged() -> None:
    network, image = PixelNetwork(reach=1), random_image(40, 50)
    total, count = torch.zeros(5, 40, 50), torch.zeros(40, 50)
    for top, left in itertools.product((0, 10, 20, 24), (0, 12, 24, 30)):
        total[:, top : top + 16, left : left + 20] += network_softmax(
            network, image[:, top : top + 16, left : left + 20]
        )
        count[top : top + 16, left : left + 20] += 1
    windowed = Inference(window=(16, 20), stride=(10, 12)).probabilities(network, image[None])[0]
    torch.testing.assert_close(windowed, total / count)


@pytest.mark.parametrize(
    ("size", "window", "scale"), [((48, 72), (24, 24), 1.0), ((48, 70), (48, 35), 1.0), ((24, 36), (24, 24), 2.0)]
)
def test_prediction_of_windows_side_by_side(
    refinenet_like: nn.Module, size: tuple[int, int], window: tuple[int, int], scale: float
) -> None:
    image = random_image(*size)
    inference = Inference(scales=(scale,), window=window, stride=window, windows_per_batch=3)
    expected = inference.probabilities(refinenet_like, image[None])[0].argmax(0)
    assert torch.equal(inference.predict(refinenet_like, image[None])[0], expected.to(torch.uint8))


def test_shift_by_stride_shifts_result(refinenet_like: nn.Module) -> None:
    inference = Inference(window=(64, 64), stride=(32, 32))
    strip = random_image(64, 160)
    left = inference.probabilities(refinenet_like, strip[:, :, :128][None])[0]
    right = inference.probabilities(refinenet_like, strip[:, :, 32:][None])[0]
    # Columns that the same two windows cover in both strips, with the edge of a window.
    torch.testing.assert_close(left[:, :, 64:96], right[:, :, 32:64])
    constant = inference.probabilities(PixelNetwork(), torch.ones(3, 64, 128)[None])[0]
    torch.testing.assert_close(constant, constant[:, :1, :1].expand_as(constant))


def test_windows_are_batched_to_the_border() -> None:
    network = PixelNetwork()
    Inference(window=(32, 32), stride=(20, 20), windows_per_batch=4).predict(network, random_image(50, 80)[None])
    assert network.shapes == [(4, 3, 32, 32), (4, 3, 32, 32)]  # 2 rows at 0, 18; 4 columns at 0, 20, 40, 48


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window": (32, 40), "stride": (32, 40)},
        {"window": 32, "stride": 20, "windows_per_batch": 3},
        {"scales": (0.5, 1.5), "flip": True},
    ],
)
def test_several_images_equal_one_at_a_time(refinenet_like: nn.Module, options: dict[str, Any]) -> None:
    images, inference = torch.stack([random_image(64, 80, seed) for seed in range(3)]), Inference(**options)
    alone = torch.cat([inference.probabilities(refinenet_like, image[None]) for image in images])
    torch.testing.assert_close(inference.probabilities(refinenet_like, images), alone, atol=1e-5, rtol=1e-4)
    predictions = inference.predict(refinenet_like, images)
    assert (predictions.dtype, predictions.shape) == (torch.uint8, (3, 64, 80))
    chosen = alone.gather(1, predictions.long()[:, None])[:, 0]
    torch.testing.assert_close(chosen, alone.max(1).values, atol=1e-5, rtol=1e-4)
    assert len({prediction.numpy().tobytes() for prediction in predictions}) == 3


def test_windows_of_several_images_share_a_call() -> None:
    network = PixelNetwork()
    images = torch.stack([random_image(50, 80, seed) for seed in range(2)])
    Inference(window=(32, 32), stride=(20, 20), windows_per_batch=4).predict(network, images)
    assert network.shapes == [(8, 3, 32, 32), (8, 3, 32, 32)]


@pytest.mark.parametrize("scales", [(0.5,), (1.5,), (0.4, 0.6, 0.8, 1.0, 1.2)])
def test_scales_are_averaged(refinenet_like: nn.Module, scales: tuple[float, ...]) -> None:
    image = random_image(70, 90)
    expected = []
    for scale in scales:
        size = (round(70 * scale), round(90 * scale))
        resized = F.interpolate(image[None], size, mode="bilinear", antialias=scale < 1)
        with torch.no_grad():
            logits = refinenet_like.forward_logits(resized)  # type: ignore[operator]
        expected.append(F.interpolate(logits, (70, 90), mode="bilinear")[0].softmax(0))
    mean, inference = torch.stack(expected).mean(0), Inference(scales=scales)
    torch.testing.assert_close(inference.probabilities(refinenet_like, image[None])[0], mean, atol=1e-5, rtol=1e-4)
    best = mean.gather(0, inference.predict(refinenet_like, image[None])[0].long()[None])[0]
    torch.testing.assert_close(best, mean.max(0).values, atol=1e-5, rtol=1e-4)


def test_flip_averages_both_views(refinenet_like: nn.Module) -> None:
    image = random_image(64, 90)
    flipped_back = network_softmax(refinenet_like, image.flip(-1)).flip(-1)
    expected = (network_softmax(refinenet_like, image) + flipped_back) / 2
    flipped = Inference(flip=True).probabilities(refinenet_like, image[None])[0]
    torch.testing.assert_close(flipped, expected)
    torch.testing.assert_close(
        Inference(flip=True).probabilities(refinenet_like, image.flip(-1)[None])[0].flip(-1), flipped
    )


@pytest.mark.parametrize("size", [(64, 64), (37, 91)])
def test_probabilities_sum_to_one(refinenet_like: nn.Module, size: tuple[int, int]) -> None:
    inference = Inference(scales=(0.7, 1.0, 1.6), flip=True, window=(40, 48), stride=(13, 31), windows_per_batch=3)
    probabilities = inference.probabilities(refinenet_like, random_image(*size)[None])[0]
    assert probabilities.shape == (len(CLASSES), *size)
    torch.testing.assert_close(probabilities.sum(0), torch.ones(size))


def test_windows_equal_resized_image() -> None:
    network, image = PixelNetwork(), random_image(64, 80)
    inference = Inference(scales=(1.5,), window=(24, 30), stride=(24, 30))
    whole, windowed = (
        Inference(scales=(1.5,)).probabilities(network, image[None])[0],
        inference.probabilities(network, image[None])[0],
    )
    # A pixel between two windows takes its value from the window with its center. So results differ only there.
    inside = torch.ones(64, 80, dtype=torch.bool)
    for edge in (16, 32, 48):
        inside[edge - 1 : edge + 1] = False
    for edge in (20, 40, 60):
        inside[:, edge - 1 : edge + 1] = False
    torch.testing.assert_close(windowed[:, inside], whole[:, inside], atol=1e-5, rtol=1e-4)


def test_smp_network_takes_any_size() -> None:
    torch.manual_seed(0)
    network = smp.FPN("resnet18", encoder_weights=None, classes=3).eval()
    inference = Inference(scales=(0.75, 1.0), flip=True, window=(50, 50))
    torch.testing.assert_close(
        inference.probabilities(network, random_image(65, 97)[None])[0].sum(0), torch.ones(65, 97)
    )


@pytest.mark.parametrize(
    ("resized", "length", "side", "stride"), [(100, 100, 30, 20), (67, 100, 16, 16), (130, 90, 33, 7)]
)
def test_window_weights_sum_to_one(resized: int, length: int, side: int, stride: int) -> None:
    weights = torch.zeros(length)
    windows = split_axis(resized, length, side, stride, torch.device("cpu"))
    for axis_window in windows:
        assert 0 <= axis_window.window.start < axis_window.window.stop <= resized
        assert axis_window.window.stop - axis_window.window.start == side
        assert ((axis_window.position > 0) & (axis_window.position < 1)).all()
        weights[axis_window.pixels] += axis_window.weight
    assert windows[-1].window.stop == resized
    torch.testing.assert_close(weights, torch.ones(length))


@pytest.mark.parametrize(("length", "size"), [(25, 100), (25, 97), (30, 17), (1, 8)])
@pytest.mark.parametrize("dim", [1, 2])
def test_interpolation_equals_torch(length: int, size: int, dim: int) -> None:
    values = random_image(length, 6) if dim == 1 else random_image(6, length)
    expected = F.interpolate(values[None], (size, 6) if dim == 1 else (6, size), mode="bilinear")[0]
    position = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    torch.testing.assert_close(interpolate(values, position, dim), expected)


def test_strips_equal_upsampled_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refinenet_pl.evaluation.windows.STRIP_ELEMENTS", 3 * 97 * 5 + 1)  # five rows per strip
    logits = random_image(17, 25)
    rows, columns = (split_axis(side, side, side, 1, logits.device)[0] for side in (65, 97))
    strips = list(WindowLogits(logits, rows, columns).strips())
    assert [strip.shape[1] for _, strip in strips] == [5] * 13
    expected = F.interpolate(logits[None], (65, 97), mode="bilinear")[0]
    torch.testing.assert_close(torch.cat([strip for _, strip in strips], 1), expected)


def peak_tensors(call: Callable[[], Any], folder: Path) -> int:
    """Peak bytes of tensors during a call, without those that existed before."""
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
    ids=["one view", "windows", "scales and flip", "all of them"],
)
def test_peak_memory_is_one_tensor_and_batch(
    options: dict[str, Any], full_tensors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refinenet_pl.evaluation.windows.STRIP_ELEMENTS", 2**14)
    torch.manual_seed(0)
    network = LightWeightRefineNet(
        "tu-test_resnet.r160_in1k", encoder_weights=None, classes=150, decoder_channels=(16, 16, 16, 16)
    ).eval()
    image, inference = random_image(128, 160), Inference(**options)
    batch = torch.randn(4, 3, 64, 64) if inference.window else image[None]
    with torch.no_grad():
        alone = peak_tensors(lambda: network.forward_logits(batch), tmp_path)
    peak = peak_tensors(lambda: inference.predict(network, image[None])[0], tmp_path)
    full = 4 * 150 * 128 * 160
    assert peak <= alone + full_tensors * full + 0.1 * full  # 0.1 for views, strips and the mask
    assert peak >= full_tensors * full


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scales": ()}, r"inference\.scales is \[\]"),
        ({"scales": (1.0, 0.0)}, r"inference\.scales is \[1\.0, 0\.0\]"),
        ({"stride": (8, 8)}, "without inference.window"),
        ({"stride": 8}, "without inference.window"),
        (
            {"window": (32, 32), "stride": (40, 8)},
            r"stride is \[40, 8\] and inference\.window is \[32, 32\].*cover every pixel",
        ),
        ({"window": (32, 64), "stride": 33}, r"stride is \[33, 33\]"),
        ({"window": (0, 32)}, r"inference\.window is \(0, 32\); expected one positive number of pixels or a pair"),
        ({"window": 0}, r"inference\.window is 0; expected"),
        ({"window": True}, r"inference\.window is True; expected"),
        ({"window": (32, 32, 32)}, r"inference\.window is \(32, 32, 32\); expected"),
        ({"window": 32, "stride": -1}, r"inference\.stride is -1; expected"),
        ({"window": "32"}, r"inference\.window is '32'; expected"),
        ({"windows_per_batch": 0}, "windows_per_batch is 0"),
    ],
)
def test_invalid_values_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Inference(**options)


@pytest.mark.parametrize("stride", [None, 16])
def test_one_number_is_a_square_pair(refinenet_like: nn.Module, stride: int | None) -> None:
    image = random_image(65, 97)
    pair = Inference(window=(32, 32), stride=stride and (stride, stride))
    number = Inference(window=32, stride=stride)
    assert (number.window_size, number.stride_size) == (pair.window_size, pair.stride_size)
    assert torch.equal(
        number.probabilities(refinenet_like, image[None])[0], pair.probabilities(refinenet_like, image[None])[0]
    )


@pytest.mark.parametrize(
    ("arguments", "window", "stride"),
    [
        ([], None, None),
        (["--window=32"], 32, None),
        (["--window=[32,48]", "--stride=16"], (32, 48), 16),
        (["--window=32", "--stride=[8,16]"], 32, (8, 16)),
        (["--window=null"], None, None),
    ],
)
def test_command_line_takes_number_or_pair(arguments: list[str], window: object, stride: object) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Inference)
    config = parser.parse_args(arguments)
    inference = Inference(**config.as_dict())
    assert (inference.window, inference.stride) == (window, stride)
    again = parser.parse_string(parser.dump(config))
    assert (again.window, again.stride) == (window, stride)


@pytest.mark.parametrize("argument", ["--window=[32]", "--window=[1,2,3]", "--stride=1.5", "--window=wide"])
def test_command_line_refuses_other_values(argument: str) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Inference)
    with pytest.raises(ArgumentError, match=argument.split("=")[0].strip("-")):
        parser.parse_args([argument])


def test_task_predicts_with_its_inference() -> None:
    inference = Inference(scales=(0.5, 1.0), flip=True)
    task = tiny_task(inference=inference).eval()
    sample = tiny_sample((64, 80), seed=3)
    expected = inference.predict(task.network, task.normalize(sample["image"][None]))[0]
    prediction = task.predict_step(sample, 0)
    assert prediction is not None
    assert torch.equal(prediction, expected)
    assert not torch.equal(expected, Inference().predict(task.network, task.normalize(sample["image"][None]))[0])


def test_validation_within_fit_has_its_own_inference(tmp_path: Path) -> None:
    windows = Inference(window=32)
    found: list[torch.Tensor] = []

    class Keep(Callback):
        def on_validation_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, *_: Any) -> None:
            expected = windows.predict(task.network, task.normalize(batch[0]["image"][None]))[0]
            assert torch.equal(outputs["predictions"][0], expected)
            found.append(expected)

    task = tiny_task(inference=Inference(flip=True), validation_inference=windows)
    tiny_trainer(tmp_path, callbacks=[Keep()]).fit(task, datamodule=TinyData())
    assert len(found) == 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a training that is evaluated in windows at two scales."""
    folder = tmp_path_factory.mktemp("inference")
    camvid = make_camvid(folder / "camvid")
    protocol = ["--model.inference.scales=[0.5,1.0]", "--model.inference.window=32"]
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, "fit", *fit_options(camvid, folder / "runs"), *protocol, "--trainer.max_epochs=1") == 0
    return only_run(folder / "runs")


def read(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_validate_uses_saved_or_other_inference(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["validate", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}"]
    assert refinenet(monkeypatch, *arguments, "--runs", tmp_path / "same") == 0
    assert read(only_run(tmp_path / "same"))["confusion_matrix"] == read(run)["confusion_matrix"]
    whole = ["--model.inference.window=null", "--model.inference.scales=[1.0]"]
    assert refinenet(monkeypatch, *arguments, "--runs", tmp_path / "whole", *whole) == 0
    other = read(only_run(tmp_path / "whole"))
    assert other["config"]["model"]["inference"]["scales"] == [1.0]
    assert other["confusion_matrix"] != read(run)["confusion_matrix"]
