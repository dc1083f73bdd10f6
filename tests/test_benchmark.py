"""The benchmark command: what it measures, and where it writes."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from helpers.commands import refinenet_process

from refinenet_pl.cli.benchmark import gigaflops
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.networks import LightWeightRefineNet

NETWORK = (
    "--network=LightWeightRefineNet",
    "--network.encoder_name=tu-test_resnet.r160_in1k",
    "--network.encoder_weights=null",
    "--network.decoder_channels=[16,16,16,16]",
    "--network.classes=150",
)
SMALL = ("--device=cpu", "--size=[480,800]", "--repeats=1")


def measure(folder: Path, *options: str, network: Sequence[str] = NETWORK) -> dict[str, str]:
    done = refinenet_process(folder, "benchmark", *SMALL, *network, *options, f"--output={folder / 'rows.csv'}")
    assert done.returncode == 0, done.stderr[-3000:]
    with (folder / "rows.csv").open() as file:
        return list(csv.DictReader(file))[-1]


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
    done = refinenet_process(tmp_path, "benchmark", *SMALL, *NETWORK, "--output=mine.csv")
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
