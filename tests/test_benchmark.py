"""The benchmark commands: what they measure, count and write."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import run_settings, small_network, write_checkpoint
from helpers.commands import refinenet_process
from helpers.fake_data import make_camvid
from torch import nn

import refinenet_pl
from refinenet_pl.benchmarks import timing
from refinenet_pl.benchmarks.machine import Rates, measure_rates
from refinenet_pl.benchmarks.memory import reset_peak_memory
from refinenet_pl.benchmarks.peers import LogitsOnly, make_peer
from refinenet_pl.benchmarks.rows import timing_columns
from refinenet_pl.benchmarks.timing import Timing, time_in_turn
from refinenet_pl.benchmarks.work import FORWARD, moved_bytes, operations
from refinenet_pl.cli.benchmark_data import verdict
from refinenet_pl.cli.benchmark_source import Variant
from refinenet_pl.deployment.network import DeployableNetwork
from refinenet_pl.deployment.writing import write
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.evaluation.memory import peak_memory
from refinenet_pl.networks import LightWeightRefineNet

NETWORK = (
    "--network=LightWeightRefineNet",
    "--network.encoder_name=tu-test_resnet.r160_in1k",
    "--network.encoder_weights=null",
    "--network.decoder_channels=[16,16,16,16]",
    "--network.classes=150",
)
SMALL = ("--device=cpu", "--size=[480,800]", "--repeats=1")


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


def measure(folder: Path, *options: str, network: Sequence[str] = NETWORK) -> dict[str, str]:
    done = refinenet_process(
        folder, "benchmark", "infer", *SMALL, *network, *options, f"--output={folder / 'rows.csv'}"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return rows_of(folder / "rows.csv")[-1]


def gigaflops(network: nn.Module, image: torch.Tensor, inference: Inference) -> float:
    return operations(lambda: inference.predict(network, image[None])) / 1e9


def test_output_appends_rows(tmp_path: Path) -> None:
    row = measure(tmp_path, "--inference.flip=true")
    assert (row["network"], row["classes"], row["height"], row["flip"]) == (
        "LightWeightRefineNet",
        "150",
        "480",
        "True",
    )
    assert float(row["seconds"]) > 0
    assert float(row["full_logits_mb"]) == pytest.approx(4 * 150 * 480 * 800 / 1e6, abs=0.1)
    assert float(row["peak_memory_mb"]) >= float(row["one_batch_alone_mb"]) > 0
    measure(tmp_path)
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 3
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    done = refinenet_process(tmp_path, "benchmark", "infer", *SMALL, *NETWORK, "--output=mine.csv")
    assert done.returncode == 2
    assert "mine.csv: its columns differ" in done.stderr
    assert (tmp_path / "mine.csv").read_text() == "a,b\n1,2\n"


def test_gflops_of_all_views(tmp_path: Path) -> None:
    convolution = (
        "--network=torch.nn.Conv2d",
        "--network.in_channels=3",
        "--network.out_channels=5",
        "--network.kernel_size=3",
        "--network.padding=same",
    )
    at_each_pixel = 2 * 5 * 3 * 3 * 3
    row = measure(tmp_path, network=convolution)
    assert float(row["gflops"]) == pytest.approx(at_each_pixel * 480 * 800 / 1e9, abs=5e-4)
    row = measure(tmp_path, "--inference.scales=[0.5,1.0]", "--inference.flip=true", network=convolution)
    views = 2 * (480 * 800 + 240 * 400)
    assert float(row["gflops"]) == pytest.approx(at_each_pixel * views / 1e9, abs=5e-4)


def test_gflops_of_overlapping_windows() -> None:
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1, groups=2)
    )
    inference = Inference(window=(16, 16), stride=(8, 16))
    # On 24 x 32 pixels that is two windows down, which share 8 rows, and two across.
    expected = 4 * 2 * (8 * 3 * 9 + 4 * 4) * 8 * 8
    assert 1e9 * gigaflops(layers, torch.rand(3, 24, 32), inference) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("encoder", "published"),
    [("resnet50", "33"), ("resnet101", "52"), ("resnet152", "71"), ("mobilenet_v2", "9.3")],
)
def test_published_gflops(encoder: str, published: str) -> None:
    # Nekrasov et al. count a multiplication with its addition as one, on 512 x 512 pixels, here with 40 classes.
    with torch.device("meta"):
        network = LightWeightRefineNet(encoder, encoder_weights=None, classes=40, expand_first=True).eval()
    found = gigaflops(network, torch.empty(3, 512, 512, device="meta"), Inference()) / 2
    assert f"{found:.{len(published.partition('.')[2])}f}" == published


def test_rows_of_variants_and_peers(tmp_path: Path) -> None:
    peer = "segmentation_models_pytorch.FPN('tu-test_resnet.r160_in1k', encoder_weights=None, classes=150)"
    options = ("--precision=['32-true','bf16-true']", "--channels_last=[true,false]", "--repeats=2")
    measure(tmp_path, *options, "--against", peer, "--size=[64,96]")
    rows = rows_of(tmp_path / "rows.csv")
    assert [row["variant"] for row in rows] == [
        "32-true",
        "32-true, contiguous",
        "bf16-true",
        "bf16-true, contiguous",
        "32-true, contiguous",
    ]
    assert [row["name"] for row in rows] == ["LightWeightRefineNet"] * 4 + ["segmentation_models_pytorch FPN"]
    slowest = float(rows[-1]["seconds"])
    for row in rows:
        median, low, high = (float(row[key]) for key in ("seconds", "seconds_low", "seconds_high"))
        assert 0 < low <= median <= high
        assert float(row["times_faster"]) == pytest.approx(slowest / median, rel=0.01)
        assert float(row["floor_share"]) == pytest.approx(float(row["floor_seconds"]) / median, abs=0.02)
        assert (row["repeats"], row["threads"]) == ("2", str(torch.get_num_threads()))
    assert len({row["gflops"] for row in rows[:4]}) == 1


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return small_network(0)


def test_checkpoints_and_experiments(network: nn.Module, tmp_path: Path) -> None:
    inference = {"scales": [0.5, 1.0], "flip": False, "window": None, "stride": None, "windows_per_batch": 2}
    checkpoint = write_checkpoint(tmp_path / "a.ckpt", network, run_settings(inference=inference))
    row = measure(tmp_path, f"--ckpt_path={checkpoint}", "--size=[64,96]", network=())
    assert (row["name"], row["scales"]) == (str(checkpoint), "0.5 1.0")
    files = []
    for name, text in (
        ("data.yaml", "data: {class_path: CamVidDataModule, init_args: {root: nowhere}}"),
        (
            "recipe.yaml",
            "model: {network: {class_path: RefineNet, init_args: {encoder_name: tu-test_resnet.r160_in1k}}}",
        ),
    ):
        (tmp_path / name).write_text(text)
        files.append(str(tmp_path / name))
    (tmp_path / "rows.csv").unlink()
    row = measure(tmp_path, "--experiment", *files, "--size=[64,96]", network=())
    assert (row["network"], row["classes"]) == ("RefineNet", "11")


def test_exported_files(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "best.ckpt", small_network(), run_settings())
    segmenter = refinenet_pl.load(checkpoint)
    write(DeployableNetwork(segmenter), segmenter.class_names, tmp_path / "small.pt2", "torch-export")
    words = (f"--ckpt_path={checkpoint}", "--exported", str(tmp_path / "small.pt2"), "--batch_size=2", "--size=[64,96]")
    measure(tmp_path, *words, network=())
    network, file = rows_of(tmp_path / "rows.csv")
    assert (file["name"], file["network"], file["variant"]) == ("small.pt2", "exported", "pt2")
    for key in ("batch_size", "height", "width", "classes"):
        assert file[key] == network[key]
    assert (network["batch_size"], network["height"], network["width"]) == ("2", "64", "96")
    assert float(network["times_faster"]) == 1
    assert float(file["seconds"]) > 0
    assert file["gflops"] == file["floor_seconds"] == file["floor_share"] == ""
    assert float(network["full_logits_mb"]) == pytest.approx(4 * 2 * int(file["classes"]) * 64 * 96 / 1e6, abs=0.1)


def test_nothing_to_measure(tmp_path: Path) -> None:
    for options, words in (
        ((), "--network, --experiment, --ckpt_path"),
        (("--ckpt_path=nowhere",), "no file or folder nowhere"),
        (("--against=os.system('true')", *NETWORK), "returned int; expected a network"),
        (("--precision=[]", *NETWORK), "expected one value or more"),
    ):
        done = refinenet_process(tmp_path, "benchmark", "infer", *SMALL, *options)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("FPN", "expected a call with plain arguments"),
        ("a.b(c)", "expected a call with plain arguments"),
        ("a.b(", "expected a call with plain arguments"),
        ("(lambda: 1)()", "expected a call with plain arguments"),
        ("no_such_package.Net()", "cannot import no_such_package.Net"),
        ("torch.nn.NoSuchClass()", "cannot import torch.nn.NoSuchClass"),
        ("torch.nn.Conv2d(1)", "failed"),
    ],
)
def test_wrong_peers(call: str, words: str) -> None:
    with pytest.raises(UserError, match="--against") as caught:
        make_peer(call)
    assert words in str(caught.value)


def test_logits_of_any_output() -> None:
    logits = torch.rand(1, 2, 3, 4)

    class Returns(nn.Module):
        def __init__(self, output: Any) -> None:
            super().__init__()
            self.output = output

        def forward(self, images: torch.Tensor) -> Any:
            return self.output

    for output in (logits, {"out": logits, "aux": None}, (logits, None), [logits]):
        assert LogitsOnly(Returns(output))(logits) is logits


def test_tasks_run_in_turn() -> None:
    order: list[str] = []
    timings = time_in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, "cpu")
    assert order == ["a", "b"] * 4
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]


def test_columns_of_a_time() -> None:
    seconds = (0.4, 0.1, 0.2, 0.3, 10.0)
    found = timing_columns(Timing(seconds), Timing((0.6,)), floor=0.15)
    assert found["seconds"] == np.median(seconds)
    assert (found["seconds_low"], found["seconds_high"]) == tuple(np.quantile(seconds, [0.25, 0.75]))
    assert (found["times_faster"], found["floor_share"]) == (2, 0.5)


def test_floor_is_the_slower_of_products_and_copies() -> None:
    rates = Rates(matmul=10, convolution=20, copy=100)
    assert rates.floor(operations=60, moved_bytes=200) == 3
    assert rates.floor(operations=60, moved_bytes=500) == 5
    measured = measure_rates("cpu", torch.float32)
    assert min(measured.matmul, measured.convolution, measured.copy) > 0


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (1, 2), (8, 1), (4, 2)])
def test_operations_of_a_training_step(groups: int, stride: int) -> None:
    layer = nn.Conv2d(8, 16, 3, stride, padding=1, groups=groups)
    images = torch.rand(2, 8, 12, 16, requires_grad=True)
    forward = 2 * 2 * (12 // stride) * (16 // stride) * 16 * 8 // groups * 9
    assert operations(lambda: layer(images)) == forward
    assert operations(lambda: layer(images).sum().backward()) == 3 * forward
    assert operations(lambda: layer(images.detach()).sum().backward()) == 2 * forward


def test_moved_bytes() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    images = torch.rand(1, 3, 5, 7)
    parameters = 4 * (4 * 3 + 4)
    assert moved_bytes(layers, lambda: layers(images), FORWARD) == parameters + 2 * 2 * 4 * 4 * 5 * 7


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can start a new peak")
def test_each_row_has_its_own_peak() -> None:
    before = reset_peak_memory("cpu")
    big = torch.ones(50_000_000)
    assert peak_memory("cpu") - before > 0.95 * big.nbytes
    del big
    again = reset_peak_memory("cpu")
    small = torch.ones(5_000_000)
    assert 0.5 * small.nbytes < peak_memory("cpu") - again < 0.5 * 200_000_000


def test_variants_compute_the_same(network: nn.Module) -> None:
    images = torch.randn(1, 3, 64, 96)
    expected = network(images)
    for variant in (Variant(), Variant(channels_last=False), Variant("bf16-true")):
        copy = variant.prepare(network, "cpu")
        found = copy(images.to(next(copy.parameters()).dtype)).float()
        torch.testing.assert_close(found, expected, rtol=0.1, atol=0.05)
        assert copy is not network


def test_training_step(tmp_path: Path) -> None:
    peer = (
        "torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)"
    )
    options = ("--batch_size=2", "--crop_size=64", "--repeats=1", "--device=cpu", f"--against={peer}")
    network = [*NETWORK[:-1], "--network.classes=5"]
    done = refinenet_process(tmp_path, "benchmark", "train", *network, *options, "--output=rows.csv")
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = rows_of(tmp_path / "rows.csv")
    assert (ours["loss"], ours["optimizer"], ours["batch_size"], ours["height"]) == ("CrossEntropy", "SGD", "2", "64")
    assert theirs["name"] == "torchvision lraspp_mobilenet_v3_large"
    single = LightWeightRefineNet(
        "tu-test_resnet.r160_in1k", encoder_weights=None, classes=5, decoder_channels=(16, 16, 16, 16)
    )
    forward = 2 * operations(lambda: single.eval()(torch.rand(1, 3, 64, 64))) / 1e9
    # The first layer needs no gradient of the images.
    assert 2.8 * forward < float(ours["gflops"]) < 3 * forward


def test_metrics(tmp_path: Path) -> None:
    done = refinenet_process(
        tmp_path, "benchmark", "eval", "--size=[64,96]", "--repeats=2", "--device=cpu", "--output=rows.csv"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ours, peer, *others = rows_of(tmp_path / "rows.csv")
    assert [row["name"] for row in others] == ["Boundary IoU", "trimap IoU"]
    expected = float(peer["seconds"]) / float(ours["seconds"])
    assert float(ours["times_faster"]) == pytest.approx(expected, rel=0.05)


def test_input(tmp_path: Path) -> None:
    make_camvid(tmp_path / "camvid", train=8)
    section = {
        "class_path": "CamVidDataModule",
        "init_args": {"root": str(tmp_path / "camvid"), "batch_size": 2, "crop_size": [32, 48]},
    }
    network = {"class_path": "LightWeightRefineNet", "init_args": {"encoder_name": "tu-test_resnet.r160_in1k"}}
    (tmp_path / "data.yaml").write_text(json.dumps({"data": section}))
    (tmp_path / "recipe.yaml").write_text(json.dumps({"model": {"network": network}}))
    done = refinenet_process(
        tmp_path,
        *("benchmark", "data", "data.yaml", "recipe.yaml", "--workers=[0,1]", "--repeats=1"),
        *("--cache_dir=cache", "--output=rows.csv"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = rows_of(tmp_path / "rows.csv")
    assert [(row["name"], row["workers"]) for row in rows] == [
        ("decode", ""),
        ("torchvision", ""),
        ("sample", ""),
        ("sample from cache", ""),
        ("loader", "0"),
        ("loader", "1"),
    ]
    for row in rows:
        assert float(row["images_per_second"]) == pytest.approx(16 / float(row["seconds"]), rel=0.01)
    assert "the step takes" in done.stdout


def test_verdict() -> None:
    rows: list[Any] = [{"workers": None, "images_per_second": 1e9}]
    rows += [{"workers": workers, "images_per_second": rate} for workers, rate in ((0, 10), (2, 25), (4, 40))]
    assert verdict(20, rows) == "the step takes 20.0 images/s: 2 workers are enough"
    assert "4 workers give 40.0: the device would wait 20 % of the time" in verdict(50, rows)


@pytest.mark.parametrize(
    ("load", "threads", "busy"), [(0.9, 1, False), (1.6, 1, True), (1.6, 2, True), (1.1, 2, False)]
)
def test_other_work_is_told(
    load: float, threads: int, busy: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timing.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(timing, "usable_cpus", lambda: 2)
    monkeypatch.setattr(timing.torch, "get_num_threads", lambda: threads)
    assert timing.warn_if_busy() == busy
    assert (f"the machine is busy (load {load:.1f} on 2 CPUs)" in capsys.readouterr().err) == busy
