"""The benchmark command: what it measures, and where it writes."""

import csv
from pathlib import Path

import pytest
from commands import refinenet_process

NETWORK = (
    "--network=LightWeightRefineNet",
    "--network.encoder_name=tu-test_resnet.r160_in1k",
    "--network.encoder_weights=null",
    "--network.decoder_channels=[16,16,16,16]",
    "--network.classes=150",
)
SMALL = (*NETWORK, "--device=cpu", "--size=[480,800]", "--repeats=1")


def measure(folder: Path, *options: str) -> dict[str, str]:
    done = refinenet_process(folder, "benchmark", *SMALL, *options, f"--output={folder / 'figures.csv'}")
    assert done.returncode == 0, done.stderr[-3000:]
    with (folder / "figures.csv").open() as file:
        return list(csv.DictReader(file))[-1]


def test_figures_are_added_to_the_file_and_another_file_is_left_alone(tmp_path: Path) -> None:
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
    assert len((tmp_path / "figures.csv").read_text().splitlines()) == 3
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    done = refinenet_process(tmp_path, "benchmark", *SMALL, "--output=mine.csv")
    assert done.returncode == 2
    assert "mine.csv: its columns are not" in done.stderr
    assert (tmp_path / "mine.csv").read_text() == "a,b\n1,2\n"
