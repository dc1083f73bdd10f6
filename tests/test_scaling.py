"""The figures that docs/scaling.md counts: operations and gradient bytes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from refinenet_pl.benchmarks.work import operations, parameter_count
from refinenet_pl.networks import LightWeightRefineNet, RefineNet

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
STEP = """
import sys
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel
from refinenet_pl.networks import LightWeightRefineNet

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
network = LightWeightRefineNet("mobilenet_v2", encoder_weights=None, classes=19)
parallel, sizes = DistributedDataParallel(network), []

def count_bytes(state, bucket):
    sizes.append(bucket.buffer().nbytes)
    return allreduce_hook(state, bucket)

parallel.register_comm_hook(None, count_bytes)
parallel(torch.rand(2, 3, 64, 64)).sum().backward()
print(sum(sizes))
"""


@pytest.mark.parametrize(
    ("network", "encoder", "row"),
    [
        (RefineNet, "resnet101", "| RefineNet-101 | 1,576 |"),
        (LightWeightRefineNet, "resnet50", "| Light-Weight RefineNet, ResNet-50 | 190 |"),
        (LightWeightRefineNet, "mobilenet_v2", "| Light-Weight RefineNet, MobileNet-v2 | 50.5 |"),
    ],
)
def test_operations_of_the_page(network, encoder, row):
    with torch.device("meta"):
        built = network(encoder, encoder_weights=None, classes=19).train()
        images = torch.empty(2, 3, 512, 512)
    gflops = operations(lambda: built(images).sum().backward()) / 2e9
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith(row)]
    cells = [cell.strip().replace(",", "").removeprefix("below ") for cell in line.strip("|").split("|")]
    assert float(cells[1]) == pytest.approx(gflops, rel=0.005)
    rates = [24.3e9 * 2470 / 1e9, 24.3e9 * 1200 / 1e9]
    assert [float(cell) for cell in cells[2:4]] == pytest.approx([rate / gflops for rate in rates], rel=0.03)
    assert cells[4] == f"{4 * parameter_count(built) / 1e6:.0f} MB"


def test_gradient_bytes_of_two_processes(tmp_path):
    words = [sys.executable, "-c", STEP]
    processes = [
        subprocess.Popen([*words, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    network = LightWeightRefineNet("mobilenet_v2", encoder_weights=None, classes=19)
    assert [int(output) for output in outputs] == 2 * [4 * parameter_count(network)]
