"""Receptive fields, against the closed form of linear chains and against changing every pixel of small images."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import refinenet_process
from helpers.tiny_study import write_study
from torch import Tensor, nn

from refinenet_pl.evaluation.receptive_field import ReceptiveField, effective_field, measure, theoretical_radius
from refinenet_pl.networks import LightWeightRefineNet, RefineNet
from refinenet_pl.networks.blocks import MaxPool


class Flat(nn.Module):
    """Convolutions of one channel with equal weights."""

    def __init__(self, depth: int, kernel: int = 3) -> None:
        super().__init__()
        convs = [nn.Conv2d(3 if i == 0 else 1, 1, kernel, padding=kernel // 2, bias=False) for i in range(depth)]
        for conv in convs:
            nn.init.ones_(conv.weight)
        self.layers = nn.Sequential(*convs)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize(("depth", "kernel"), [(1, 3), (4, 3), (2, 5)])
def test_chain_of_flat_kernels(depth, kernel):
    # The gradient of a chain is its kernels convolved with each other.
    line = np.ones(1)
    for _ in range(depth):
        line = np.convolve(line, np.ones(kernel))
    expected = np.outer(line, line) / line.sum() ** 2
    field = measure(Flat(depth, kernel), torch.rand(2, 1, 3, 31, 41))
    reach = depth * (kernel // 2)
    assert field.theoretical == reach
    assert field.weights.shape == (31, 41)
    inner = field.weights[15 - reach : 16 + reach, 20 - reach : 21 + reach]
    np.testing.assert_allclose(inner, expected, rtol=1e-5)
    assert field.weights.sum() == pytest.approx(inner.sum()) == pytest.approx(1)


def test_radius_of_a_disc():
    rows, columns = np.ogrid[:101, :101]
    disc = (np.hypot(rows - 50, columns - 50) <= 40).astype(np.float32)
    field = ReceptiveField(disc / disc.sum(), 40)
    assert field.radius(1.0) == 40
    for share in (0.5, 0.9):
        assert field.radius(share) == pytest.approx(40 * math.sqrt(share), abs=0.5)


class Small(nn.Module):
    """A smooth network with stride 2, pooling and upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.pool = MaxPool()
        self.out = nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        small = torch.tanh(self.down(x))
        return nn.functional.interpolate(self.out(small + self.pool(small)), size=x.shape[-2:], mode="bilinear")


def test_gradient_equals_changes_of_every_pixel():
    torch.manual_seed(0)
    network, image = Small().double().eval(), torch.rand(1, 3, 17, 20, dtype=torch.float64)

    def central(images: Tensor) -> Tensor:
        return network(images)[:, :, 8, 10]

    label = central(image)[0].argmax()
    steps = 1e-6 * torch.eye(image.numel(), dtype=torch.float64).view(-1, *image.shape[1:])
    slopes = (central(image + steps) - central(image - steps))[:, label] / 2e-6
    expected = slopes.view(image.shape[1:]).abs().sum(0)
    weights = effective_field(network, [image])
    # Pixel (8, 10) of 17 x 20 is the center of 17 x 21.
    np.testing.assert_allclose(weights[:, :20], (expected / expected.sum()).detach(), rtol=1e-5, atol=1e-8)
    assert (weights[:, 20] == 0).all()


def reach_by_changes(network: nn.Module, size: int) -> int:
    """Return the largest distance of a row whose change changes the central logit of a network without activations."""
    torch.manual_seed(0)
    image = torch.rand(1, 3, size, 64, dtype=torch.float64)
    with torch.no_grad():
        before = network(image)[0, :, size // 2, 32]
        for distance in range(size // 2, 0, -1):
            changed = image.clone()
            changed[:, :, size // 2 - distance] += 10 * torch.rand(1, 3, 64)
            if not torch.equal(network(changed)[0, :, size // 2, 32], before):
                return distance
    return 0


class Linear(nn.Module):
    """Convolutions with strides and dilation, and upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 7, stride=2, padding=3),
            nn.Conv2d(4, 4, 3, stride=2, padding=1),
            nn.Conv2d(4, 4, 3, padding=4, dilation=4),
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(self.layers(x), size=x.shape[-2:], mode="bilinear", align_corners=False)


def test_reach_equals_changes_of_every_row():
    torch.manual_seed(1)
    network = Linear().double()
    assert theoretical_radius(network) == reach_by_changes(network, 128)


def test_chained_pooling_widens_the_reach():
    reaches = {
        (pooling, length): theoretical_radius(
            LightWeightRefineNet(
                "mobilenet_v2", encoder_weights=None, classes=3, pooling=pooling, pooling_blocks=length
            ).eval()
        )
        for pooling, length in ((None, 4), ("original", 2), ("original", 4), ("improved", 4))
    }
    # Each 5x5 pooling reaches 2 pixels further at strides 32, 16, 8 and 4: 120 pixels of the image together. How maps
    # of other resolutions are aligned adds some pixels.
    assert reaches["original", 4] - reaches[None, 4] == pytest.approx(4 * 120, abs=16)
    assert reaches["original", 2] - reaches[None, 4] == pytest.approx(2 * 120, abs=16)
    assert reaches["improved", 4] == reaches["original", 4]


def test_global_pooling_reaches_everywhere():
    class Global(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x.mean(dim=(2, 3), keepdim=True)

    assert theoretical_radius(Global()) == math.inf


def test_sizes_are_aligned_at_the_center():
    images = [torch.rand(1, 3, *size) for size in ((9, 14), (12, 8))]
    weights = effective_field(nn.Identity(), images)
    assert weights.shape == (13, 15)
    assert weights[6, 7] == 1


def test_real_network_on_its_device():
    network = RefineNet("resnet18", encoder_weights=None, classes=4, decoder_channels=(16, 16, 16, 16)).eval()
    field = measure(network, [torch.rand(1, 3, 65, 97)])
    assert field.weights.shape == (65, 97)
    assert field.weights.sum() == pytest.approx(1, abs=1e-5)
    assert 0 < field.radius(0.5) < field.radius(0.9) < field.theoretical < math.inf
    assert not any(parameter.grad is not None for parameter in network.parameters())


def test_row_of_an_own_network(tmp_path, monkeypatch):
    """The study names the class, so that no option is needed; the field is that of two small convolutions."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    own = {"class_path": "helpers.own_network.Shallow", "init_args": {"encoder_weights": None}}
    file = write_study(tmp_path, factors={"network": {"own": {"model.network": own}}})
    for command in ("run", "pictures"):
        done = refinenet_process(tmp_path, "study", command, file)
        assert done.returncode == 0, done.stderr[-3000:]
        if command == "run":
            assert done.stdout.splitlines()[-1].endswith(f": refinenet study report {file}")
    assert "no receptive field" not in done.stdout
    with np.load(tmp_path / "runs" / "tiny" / "receptive_fields" / "network-own.npz") as field:
        assert field["theoretical"] == 3
        rows, columns = np.nonzero(field["weights"])
    assert (np.ptp(rows), np.ptp(columns)) == (6, 6)
