"""Blocks and decoders against the paper's formulas in plain torch functions."""

from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refinenet_pl.networks.blocks import (
    ChainedResidualPooling,
    MaxPool,
    MultiResolutionFusion,
    RefineNetBlock,
    ResidualConvUnit,
)
from refinenet_pl.networks.lightweight import MobileDecoder
from refinenet_pl.networks.refinenet import RefineNetDecoder, split_evenly

Weights = dict[str, Tensor]
M = TypeVar("M", bound=nn.Module)


def randomized(module: M, std: float = 0.2) -> M:
    """Draw weights and biases so large that every term of a sum matters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=std)
    return module.eval()


def residual_conv_unit(x: Tensor, weights: Weights, name: str) -> Tensor:
    inner = F.conv2d(x.clamp(min=0), weights[f"{name}conv1.weight"], weights[f"{name}conv1.bias"], padding=1)
    return x + F.conv2d(inner.clamp(min=0), weights[f"{name}conv2.weight"], padding=1)


def chained_pooling(x: Tensor, kernels: list[Tensor], pool_first: bool = True, ceiling: float = float("inf")) -> Tensor:
    x = x.clamp(0, ceiling)
    terms = [x]
    for kernel in kernels:
        block = terms[-1]
        if pool_first:
            block = F.max_pool2d(block, 5, 1, 2)
        block = F.conv2d(block, kernel, padding=kernel.shape[-1] // 2)
        terms.append(block if pool_first else F.max_pool2d(block, 5, 1, 2))
    return torch.stack(terms).sum(0)


def upsampled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate bilinearly with aligned corners, as two products with hat functions."""

    def hats(old: int, new: int) -> Tensor:
        positions = torch.linspace(0, old - 1, new, dtype=x.dtype)
        return (1 - (positions[:, None] - torch.arange(old)).abs()).clamp(min=0)

    return hats(x.shape[-2], size[0]) @ x @ hats(x.shape[-1], size[1]).T


def in_double(module: nn.Module) -> Weights:
    return module.double().state_dict()


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_residual_unit_adds_its_input() -> None:
    unit = randomized(ResidualConvUnit(4))
    weights, x = in_double(unit), noise(2, 4, 7, 9)
    torch.testing.assert_close(unit(x), residual_conv_unit(x, weights, ""))
    nn.init.zeros_(unit.conv2.weight)
    torch.testing.assert_close(unit(x), x, msg="the identity keeps negative values")


def test_residual_unit_keeps_its_input() -> None:
    x = noise(1, 4, 5, 5)
    before = x.clone()
    ResidualConvUnit(4).double()(x)
    assert torch.equal(x, before)


def test_residual_unit_has_one_bias() -> None:
    assert list(ResidualConvUnit(4).state_dict()) == ["conv1.weight", "conv1.bias", "conv2.weight"]


def test_fusion_formula() -> None:
    fusion = randomized(MultiResolutionFusion([5, 3]))
    weights, coarse, fine = in_double(fusion), noise(2, 5, 4, 6), noise(2, 3, 7, 12)
    expected = upsampled(F.conv2d(coarse, weights["convs.0.weight"], padding=1), (7, 12))
    expected = expected + F.conv2d(fine, weights["convs.1.weight"], padding=1)
    torch.testing.assert_close(fusion([coarse, fine]), expected)


def test_fusion_shapes() -> None:
    fusion = MultiResolutionFusion([6, 4, 8])
    fused = fusion([torch.rand(1, 6, 3, 2), torch.rand(1, 4, 5, 4), torch.rand(1, 8, 9, 7)])
    assert fused.shape == (1, 4, 9, 7)
    shapes = {name: tuple(weight.shape) for name, weight in fusion.state_dict().items()}
    assert shapes == {f"convs.{i}.weight": (4, width, 3, 3) for i, width in enumerate([6, 4, 8])}


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("pooling", ["original", "improved"])
def test_chained_pooling_formula(pooling: str, kernel_size: int) -> None:
    chain = randomized(ChainedResidualPooling(4, blocks=3, pooling=pooling, kernel_size=kernel_size))  # type: ignore[arg-type]
    weights, x = in_double(chain), noise(2, 4, 9, 11)
    expected = chained_pooling(x, list(weights.values()), pool_first=pooling == "original")
    torch.testing.assert_close(chain(x), expected)
    assert list(weights) == [f"convs.{i}.weight" for i in range(3)], "no biases"


def test_chained_pooling_orders_differ() -> None:
    original, improved = (ChainedResidualPooling(4, pooling=order) for order in ("original", "improved"))
    improved.load_state_dict(original.state_dict())
    x = torch.randn(1, 4, 8, 8)
    assert not torch.allclose(original(x), improved(x))


@pytest.mark.parametrize("pooling", ["original", "improved"])
def test_pooling_chain_has_no_activation(pooling: str) -> None:
    chain = ChainedResidualPooling(1, blocks=2, pooling=pooling, kernel_size=1).double()  # type: ignore[arg-type]
    for weight in chain.parameters():
        nn.init.constant_(weight, -1.0)
    # The output is x - x + x. An activation in the chain would remove the negative term.
    flat = torch.ones(1, 1, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(chain(3 * flat), 3 * flat)
    assert chain.convs[0](flat).max() < 0


def test_empty_pooling_chain_is_activation() -> None:
    x = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(ChainedResidualPooling(4, blocks=0)(x), x.clamp(min=0))


def test_refinenet_block_formula() -> None:
    block = randomized(RefineNetBlock([7, 6], widths=[5, 4], previous_channels=3, pooling_blocks=2))
    weights = in_double(block)
    paths = [noise(1, 7, 4, 5), noise(1, 6, 8, 9), noise(1, 3, 2, 3)]
    reduced = [F.conv2d(paths[i], weights[f"reduce.{i}.weight"], padding=1) for i in range(2)]
    fused = torch.zeros(1, 3, 8, 9, dtype=torch.float64)
    for i, x in enumerate([*reduced, paths[2]]):
        for unit in range(2):
            x = residual_conv_unit(x, weights, f"input_units.{i}.{unit}.")
        fused = fused + upsampled(F.conv2d(x, weights[f"fusion.convs.{i}.weight"], padding=1), (8, 9))
    pooled = chained_pooling(fused, [weights[f"pooling.convs.{i}.weight"] for i in range(2)])
    torch.testing.assert_close(block(paths), residual_conv_unit(pooled, weights, "output_units.0."))
    assert block.out_channels == 3


def test_single_path_has_no_fusion() -> None:
    block = randomized(RefineNetBlock([7], widths=[5], rcus_per_input=0, rcus_per_output=0, pooling_blocks=0))
    weights, x = in_double(block), noise(1, 7, 4, 5)
    assert list(weights) == ["reduce.0.weight"]
    torch.testing.assert_close(block([x]), F.conv2d(x, weights["reduce.0.weight"], padding=1).clamp(min=0))


def make_decoder(**options: int) -> RefineNetDecoder:
    full = {"rcus_per_input": 2, "rcus_per_output": 1, "kernel_size": 3, **options}
    decoder = RefineNetDecoder(
        [3, 4, 5, 6, 7, 8], 1, widths=[6, 5, 4, 3], num_blocks=4, tap_dropout=0.5, final_dropout=0.5, **full
    )
    return randomized(decoder)


def make_features() -> list[Tensor]:
    """Draw the image and five feature maps, as for an image of 65 x 97."""
    sizes = [(65, 97), (33, 49), (17, 25), (9, 13), (5, 7), (3, 4)]
    return [noise(1, channels, *size) for channels, size in zip([3, 4, 5, 6, 7, 8], sizes, strict=True)]


def cascade(features: list[Tensor], weights: Weights, units: Callable[[Tensor, str], Tensor]) -> Tensor:
    """Compute four blocks, coarse to fine; each takes one feature map and the previous block's output, if any."""

    def convolve(x: Tensor, name: str) -> Tensor:
        kernel = weights[f"{name}.weight"]
        return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)

    out = torch.empty(0)
    for i, x in enumerate(features[:1:-1]):
        block = f"blocks.{i}."
        size = (x.shape[-2], x.shape[-1])
        x = units(convolve(x, f"{block}reduce.0"), f"{block}input_units.0.")
        if i > 0:
            previous = convolve(units(out, f"{block}input_units.1."), f"{block}fusion.convs.1")
            x = convolve(x, f"{block}fusion.convs.0") + upsampled(previous, size)
        x = chained_pooling(x, [weights[f"{block}pooling.convs.{place}.weight"] for place in range(4)])
        out = units(x, f"{block}output_units.")
    return units(out, "final_units.")


def test_decoder_formula() -> None:
    decoder, features = make_decoder(), make_features()
    weights = in_double(decoder)

    def units(x: Tensor, name: str) -> Tensor:
        for i in range(1 if "output" in name else 2):
            x = residual_conv_unit(x, weights, f"{name}{i}.")
        return x

    torch.testing.assert_close(decoder(features), cascade(features, weights, units))


def test_lightweight_decoder_formula() -> None:
    decoder, features = make_decoder(rcus_per_input=0, rcus_per_output=0, kernel_size=1), make_features()
    weights = in_double(decoder)
    assert {tuple(weight.shape[2:]) for weight in weights.values()} == {(1, 1)}
    torch.testing.assert_close(decoder(features), cascade(features, weights, lambda x, _: x))


def test_mobile_decoder_formula() -> None:
    channels, sizes = [2, 3, 4, 5, 6, 7], [(17, 25), (9, 13), (5, 7), (5, 7), (3, 4), (3, 4)]
    features = [30 * noise(1, width, *size) for width, size in zip(channels, sizes, strict=True)]
    decoder = randomized(MobileDecoder(channels, [1, 1, 2, 2], "original", pooling_blocks=4), std=0.05)
    weights = in_double(decoder)
    out = torch.empty(0)
    # Index of the first feature map of each stride, coarse to fine, and the number of its feature maps.
    for block, (first, count) in enumerate([(4, 2), (2, 2), (1, 1), (0, 1)]):
        name = f"blocks.{block}."
        x = torch.zeros(1, 256, *sizes[first], dtype=torch.float64)
        for i in range(count):
            x = x + F.conv2d(features[first + count - 1 - i], weights[f"{name}reduce.{i}.weight"])
        if block > 0:
            x = x + upsampled(F.conv2d(out, weights[f"{name}adapt.weight"]), sizes[first])
        assert x.max() > 6, "some values exceed the limit of ReLU6"
        out = chained_pooling(x, [weights[f"{name}pooling.convs.{place}.weight"] for place in range(4)], ceiling=6.0)
    torch.testing.assert_close(decoder(features), out)


@pytest.mark.parametrize(("parts", "expected"), [(1, [[5, 4, 3, 2]]), (2, [[5, 4], [3, 2]]), (4, [[5], [4], [3], [2]])])
def test_levels_are_split_evenly(parts: int, expected: list[list[int]]) -> None:
    assert split_evenly([5, 4, 3, 2], parts) == expected


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (7, 4), (12, 15)])
def test_pooling_without_gradients_is_the_same(size: tuple[int, int]) -> None:
    features = torch.randint(-3, 3, (2, 8, *size)).float()  # many equal values
    features[0, 0, 0, 0] = torch.nan
    expected = F.max_pool2d(features, 5, stride=1, padding=2)
    for layout in (torch.contiguous_format, torch.channels_last):
        with torch.no_grad():
            found = MaxPool()(features.contiguous(memory_format=layout))
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    with torch.enable_grad():
        torch.testing.assert_close(MaxPool()(features), expected, rtol=0, atol=0, equal_nan=True)
