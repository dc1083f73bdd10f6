"""Inference: windows, scales and mirror images against plain whole-image inference and re-statements in torch."""

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
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation import Inference
from refinenet_pl.evaluation.windows import Patch, interpolate, split_axis
from refinenet_pl.networks import LightWeightRefineNet


class PixelNetwork(nn.Module):
    """Logits of each pixel from itself and its neighbors up to `reach` pixels away; counts the images it sees."""

    def __init__(self, reach: int = 0, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, classes, 2 * reach + 1, padding=reach)
        self.seen: list[torch.Size] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.shape)
        return self.conv(images)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def softmax_of(network: nn.Module, image: Tensor) -> Tensor:
    return network(image[None])[0].softmax(0)


@pytest.fixture(scope="module")
def refinenet_like() -> nn.Module:
    torch.manual_seed(0)
    return tiny_network().eval()


SIZES = [(64, 64), (65, 97), (33, 130)]


@pytest.mark.parametrize("size", SIZES)
def test_one_view_is_what_the_network_says_of_the_whole_image(refinenet_like: nn.Module, size: tuple[int, int]) -> None:
    image = picture(*size)
    expected = softmax_of(refinenet_like, image)
    torch.testing.assert_close(Inference().probabilities(refinenet_like, image), expected)
    labels = Inference().predict(refinenet_like, image)
    assert (labels.dtype, labels.shape) == (torch.uint8, size)
    assert torch.equal(labels.long(), expected.argmax(0))


@pytest.mark.parametrize("size", SIZES)
def test_a_window_as_large_as_the_image_or_larger_is_the_whole_image(
    refinenet_like: nn.Module, size: tuple[int, int]
) -> None:
    image = picture(*size)
    for window in (size, (200, 200)):
        windowed = Inference(window=window).probabilities(refinenet_like, image)
        torch.testing.assert_close(windowed, softmax_of(refinenet_like, image))


@pytest.mark.parametrize("stride", [(16, 24), (7, 5), None])
def test_windows_equal_the_whole_image_where_a_pixel_needs_nothing_but_itself(stride: tuple[int, int] | None) -> None:
    network, image = PixelNetwork(), picture(61, 83)
    windowed = Inference(window=(16, 24), stride=stride).probabilities(network, image)
    torch.testing.assert_close(windowed, softmax_of(network, image))


def test_windows_that_cover_the_image_once_differ_only_as_near_their_edges_as_the_network_reaches() -> None:
    network, image = PixelNetwork(reach=2), picture(48, 72)
    windowed = Inference(window=(24, 24), stride=(24, 24)).probabilities(network, image)
    inside = torch.ones(48, 72, dtype=torch.bool)
    inside[24 - 2 : 24 + 2] = False
    for edge in (24, 48):
        inside[:, edge - 2 : edge + 2] = False
    whole = softmax_of(network, image)
    torch.testing.assert_close(windowed[:, inside], whole[:, inside])
    assert (windowed - whole)[:, ~inside].abs().max() > 0.01


def test_overlapping_windows_are_averaged_after_the_softmax_as_a_plain_loop_does() -> None:
    network, image = PixelNetwork(reach=1), picture(40, 50)
    total, count = torch.zeros(5, 40, 50), torch.zeros(40, 50)
    for top, left in itertools.product((0, 10, 20, 24), (0, 12, 24, 30)):
        total[:, top : top + 16, left : left + 20] += softmax_of(network, image[:, top : top + 16, left : left + 20])
        count[top : top + 16, left : left + 20] += 1
    windowed = Inference(window=(16, 20), stride=(10, 12)).probabilities(network, image)
    torch.testing.assert_close(windowed, total / count)


def test_moving_the_image_by_a_stride_moves_the_answer_and_leaves_no_seam(refinenet_like: nn.Module) -> None:
    inference = Inference(window=(64, 64), stride=(32, 32))
    strip = picture(64, 160)
    left = inference.probabilities(refinenet_like, strip[:, :, :128])
    right = inference.probabilities(refinenet_like, strip[:, :, 32:])
    # The columns that the same two windows decide in both, among them the edge between the windows' halves.
    torch.testing.assert_close(left[:, :, 64:96], right[:, :, 32:64])
    constant = inference.probabilities(PixelNetwork(), torch.ones(3, 64, 128))
    torch.testing.assert_close(constant, constant[:, :1, :1].expand_as(constant))


def test_the_last_windows_end_with_the_image_and_windows_are_shown_in_batches() -> None:
    network = PixelNetwork()
    Inference(window=(32, 32), stride=(20, 20), windows_per_batch=4).predict(network, picture(50, 80))
    assert network.seen == [(4, 3, 32, 32), (4, 3, 32, 32)]  # 2 rows at 0, 18; 4 columns at 0, 20, 40, 48


@pytest.mark.parametrize("scales", [(0.5,), (1.5,), (0.4, 0.6, 0.8, 1.0, 1.2)])
def test_scales_are_averaged_after_the_softmax_at_the_images_own_size(
    refinenet_like: nn.Module, scales: tuple[float, ...]
) -> None:
    image = picture(70, 90)
    expected = []
    for scale in scales:
        size = (round(70 * scale), round(90 * scale))
        resized = F.interpolate(image[None], size, mode="bilinear", antialias=scale < 1)
        with torch.no_grad():
            logits = refinenet_like.forward_logits(resized)  # type: ignore[operator]
        expected.append(F.interpolate(logits, (70, 90), mode="bilinear")[0].softmax(0))
    mean, inference = torch.stack(expected).mean(0), Inference(scales=scales)
    torch.testing.assert_close(inference.probabilities(refinenet_like, image), mean, atol=1e-5, rtol=1e-4)
    best = mean.gather(0, inference.predict(refinenet_like, image).long()[None])[0]
    torch.testing.assert_close(best, mean.max(0).values, atol=1e-5, rtol=1e-4)


def test_flipping_averages_with_the_mirrored_answer_to_the_mirror_image(refinenet_like: nn.Module) -> None:
    image = picture(64, 90)
    mirrored = softmax_of(refinenet_like, image.flip(-1)).flip(-1)
    expected = (softmax_of(refinenet_like, image) + mirrored) / 2
    flipped = Inference(flip=True).probabilities(refinenet_like, image)
    torch.testing.assert_close(flipped, expected)
    torch.testing.assert_close(Inference(flip=True).probabilities(refinenet_like, image.flip(-1)).flip(-1), flipped)


@pytest.mark.parametrize("size", [(64, 64), (37, 91)])
def test_any_mixture_gives_scores_that_sum_to_one_at_every_pixel(
    refinenet_like: nn.Module, size: tuple[int, int]
) -> None:
    inference = Inference(scales=(0.7, 1.0, 1.6), flip=True, window=(40, 48), stride=(13, 31), windows_per_batch=3)
    compute_logits = inference.probabilities(refinenet_like, picture(*size))
    assert compute_logits.shape == (len(CLASSES), *size)
    torch.testing.assert_close(compute_logits.sum(0), torch.ones(size))


def test_windows_of_a_resized_image_equal_the_resized_image_where_a_pixel_needs_nothing_but_itself() -> None:
    network, image = PixelNetwork(), picture(64, 80)
    inference = Inference(scales=(1.5,), window=(24, 30), stride=(24, 30))
    whole, windowed = Inference(scales=(1.5,)).probabilities(network, image), inference.probabilities(network, image)
    # Between two windows a pixel is read off the one that its center lies in, not off both: so only there they differ.
    inside = torch.ones(64, 80, dtype=torch.bool)
    for edge in (16, 32, 48):
        inside[edge - 1 : edge + 1] = False
    for edge in (20, 40, 60):
        inside[:, edge - 1 : edge + 1] = False
    torch.testing.assert_close(windowed[:, inside], whole[:, inside], atol=1e-5, rtol=1e-4)


def test_a_network_that_takes_only_multiples_of_its_stride_works_in_every_mode() -> None:
    torch.manual_seed(0)
    network = smp.FPN("resnet18", encoder_weights=None, classes=3).eval()
    inference = Inference(scales=(0.75, 1.0), flip=True, window=(50, 50))
    torch.testing.assert_close(inference.probabilities(network, picture(65, 97)).sum(0), torch.ones(65, 97))


@pytest.mark.parametrize(
    ("resized", "length", "side", "stride"), [(100, 100, 30, 20), (67, 100, 16, 16), (130, 90, 33, 7)]
)
def test_the_windows_of_an_axis_decide_every_pixel_in_shares_that_sum_to_one(
    resized: int, length: int, side: int, stride: int
) -> None:
    shares = torch.zeros(length)
    spans = split_axis(resized, length, side, stride, torch.device("cpu"))
    for span in spans:
        assert 0 <= span.window.start < span.window.stop <= resized
        assert span.window.stop - span.window.start == side
        assert ((span.position > 0) & (span.position < 1)).all()
        shares[span.pixels] += span.share
    assert spans[-1].window.stop == resized
    torch.testing.assert_close(shares, torch.ones(length))


@pytest.mark.parametrize(("cells", "size"), [(25, 100), (25, 97), (30, 17), (1, 8)])
@pytest.mark.parametrize("dim", [1, 2])
def test_interpolation_along_an_axis_is_torchs(cells: int, size: int, dim: int) -> None:
    values = picture(cells, 6) if dim == 1 else picture(6, cells)
    expected = F.interpolate(values[None], (size, 6) if dim == 1 else (6, size), mode="bilinear")[0]
    position = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    torch.testing.assert_close(interpolate(values, position, dim), expected)


def test_strips_together_are_the_upsampled_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refinenet_pl.evaluation.windows.STRIP_ELEMENTS", 3 * 97 * 5 + 1)  # five rows a strip
    logits = picture(17, 25)
    rows, columns = (split_axis(side, side, side, 1, logits.device)[0] for side in (65, 97))
    strips = list(Patch(logits, rows, columns).strips())
    assert [strip.shape[1] for _, strip in strips] == [5] * 13
    expected = F.interpolate(logits[None], (65, 97), mode="bilinear")[0]
    torch.testing.assert_close(torch.cat([strip for _, strip in strips], 1), expected)


def peak_tensors(call: Callable[[], Any], folder: Path) -> int:
    """The most bytes that tensors held at once during a call, beyond those before it."""
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
def test_inference_needs_no_more_than_one_full_tensor_beside_one_batch_of_windows(
    options: dict[str, Any], full_tensors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refinenet_pl.evaluation.windows.STRIP_ELEMENTS", 2**14)
    torch.manual_seed(0)
    network = LightWeightRefineNet(
        "tu-test_resnet.r160_in1k", encoder_weights=None, classes=150, decoder_channels=(16, 16, 16, 16)
    ).eval()
    image, inference = picture(128, 160), Inference(**options)
    batch = torch.randn(4, 3, 64, 64) if inference.window else image[None]
    with torch.no_grad():
        alone = peak_tensors(lambda: network.forward_logits(batch), tmp_path)
    peak = peak_tensors(lambda: inference.predict(network, image), tmp_path)
    full = 4 * 150 * 128 * 160
    assert peak <= alone + full_tensors * full + 0.1 * full  # the last part for views, strips and labels
    assert peak >= full_tensors * full


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scales": ()}, r"inference\.scales is \[\]"),
        ({"scales": (1.0, 0.0)}, r"inference\.scales is \[1\.0, 0\.0\]"),
        ({"stride": (8, 8)}, "without inference.window"),
        ({"window": (32, 32), "stride": (40, 8)}, "no pixel is left out"),
        ({"window": (0, 32)}, "positive sides"),
        ({"windows_per_batch": 0}, "windows_per_batch is 0"),
    ],
)
def test_what_cannot_be_is_refused_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Inference(**options)


def test_the_task_predicts_with_its_inference() -> None:
    inference = Inference(scales=(0.5, 1.0), flip=True)
    task = tiny_task(inference=inference).eval()
    sample = tiny_sample((64, 80), seed=3)
    expected = inference.predict(task.network, task.normalize(sample["image"][None])[0])
    assert torch.equal(task.predict_step(sample, 0), expected)
    assert not torch.equal(expected, Inference().predict(task.network, task.normalize(sample["image"][None])[0]))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training whose evaluation takes windows at two scales."""
    folder = tmp_path_factory.mktemp("inference")
    camvid = make_camvid(folder / "camvid")
    protocol = ["--model.inference.scales=[0.5,1.0]", "--model.inference.window=[32,32]"]
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, "fit", *fit_options(camvid, folder / "runs"), *protocol, "--trainer.max_epochs=1") == 0
    return only_run(folder / "runs")


def read(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_the_command_line_evaluates_by_the_protocol_of_the_checkpoint_or_by_another(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["validate", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}"]
    assert refinenet(monkeypatch, *arguments, "--runs", tmp_path / "same") == 0
    assert read(only_run(tmp_path / "same"))["confusion_matrix"] == read(run)["confusion_matrix"]
    whole = ["--model.inference.window=null", "--model.inference.scales=[1.0]"]
    assert refinenet(monkeypatch, *arguments, "--runs", tmp_path / "whole", *whole) == 0
    other = read(only_run(tmp_path / "whole"))
    assert other["config"]["model"]["inference"]["scales"] == [1.0]
    assert other["confusion_matrix"] != read(run)["confusion_matrix"]
