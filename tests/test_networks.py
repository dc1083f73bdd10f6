"""RefineNet and Light-Weight RefineNet: sizes, geometry, smp's conventions, saving, compiling."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.networks import LightWeightRefineNet, RefineNet
from refinenet_pl.networks.blocks import ChainedResidualPooling, MultiResolutionFusion, ResidualConvUnit

NETWORKS = [RefineNet, LightWeightRefineNet]
WIDTHS = (16, 8, 8, 8)
SIZES = [(65, 97), (64, 64), (33, 129), (40, 50)]

Network = type[RefineNet] | type[LightWeightRefineNet]

both = pytest.mark.parametrize("network", NETWORKS)


def small(network: Network, **options: Any) -> Any:
    """Make a small network in evaluation mode."""
    torch.manual_seed(0)
    tiny = {"encoder_name": "tu-test_resnet.r160_in1k", "encoder_weights": None, "decoder_channels": WIDTHS}
    return with_large_weights(network(**{**tiny, **options})).eval()


def with_large_weights(network: Any) -> Any:
    """Draw decoder weights so large that every level affects the output."""
    with torch.no_grad():
        for module in [*network.decoder.modules(), *network.segmentation_head.modules()]:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    return network


def on_meta(network: Network, **options: Any) -> Any:
    """Make a network without memory for its weights, to count them."""
    with torch.device("meta"):
        return network(encoder_weights=None, **options)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("network", "encoder", "classes", "published"),
    [
        (RefineNet, "resnet50", 21, 99_060_309),
        (RefineNet, "resnet101", 21, 118_052_437),
        (RefineNet, "resnet101", 40, 118_096_232),
        (RefineNet, "resnet152", 21, 133_696_085),
        (LightWeightRefineNet, "resnet50", 21, 27_357_525),
        (LightWeightRefineNet, "resnet50", 40, 27_401_320),
        (LightWeightRefineNet, "resnet101", 21, 46_349_653),
        (LightWeightRefineNet, "resnet101", 40, 46_393_448),
        (LightWeightRefineNet, "resnet152", 21, 61_993_301),
        (LightWeightRefineNet, "resnet152", 40, 62_037_096),
    ],
)
def test_published_parameter_counts(network: Network, encoder: str, classes: int, published: int) -> None:
    assert count(on_meta(network, encoder_name=encoder, classes=classes)) == published


@pytest.mark.parametrize(("network", "published"), [(RefineNet, 75_552_277), (LightWeightRefineNet, 3_849_493)])
def test_published_decoder_parameters(network: Network, published: int) -> None:
    whole = on_meta(network, encoder_name="resnet50", classes=21)
    assert count(whole.encoder) == 23_508_032
    assert count(whole.decoder) + count(whole.segmentation_head) == published


def test_published_mobile_parameters() -> None:
    mobile = on_meta(LightWeightRefineNet, encoder_name="mobilenet_v2", classes=21)
    assert count(mobile) == pytest.approx(3.285e6, rel=1e-3)
    assert mobile.encoder.out_channels[2:] == [24, 32, 64, 96, 160, 320]


@both
def test_arguments_of_smp_models(network: Network) -> None:
    assert issubclass(network, smp.base.SegmentationModel)
    parameters, smps = inspect.signature(network).parameters, inspect.signature(smp.FPN).parameters
    names = [name for name in smps if not name.startswith(("decoder_", "upsampling", "kwargs"))]
    assert set(list(parameters)[:7]) == set(names)
    assert parameters["classes"].default == smps["classes"].default == 1
    children = [name for name, _ in small(network).named_children()]
    assert {"encoder", "decoder", "segmentation_head"} <= set(children)


@both
@pytest.mark.parametrize("size", SIZES)
def test_output_has_input_size(network: Network, size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert small(network, classes=3)(torch.rand(2, 3, *size)).shape == (2, 3, *size)


@both
@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("size", SIZES)
def test_logits_have_stride_4(network: Network, encoder: str, size: tuple[int, int]) -> None:
    whole, images = small(network, encoder_name=encoder, classes=3), torch.rand(1, 3, *size)
    with torch.no_grad():
        logits, output = whole.forward_logits(images), whole(images)
    assert logits.shape == (1, 3, -(-size[0] // 4), -(-size[1] // 4))
    torch.testing.assert_close(output, F.interpolate(logits, size, mode="bilinear", align_corners=False))


@both
@pytest.mark.parametrize(("depth", "blocks"), [(3, 2), (4, 3), (5, 4)])
def test_shallow_encoder_has_fewer_blocks(network: Network, depth: int, blocks: int) -> None:
    whole = small(network, encoder_depth=depth, in_channels=1, classes=7)
    assert len(whole.decoder.blocks) == blocks
    with torch.no_grad():
        assert whole(torch.rand(1, 1, 64, 64)).shape == (1, 7, 64, 64)
        assert whole.forward_logits(torch.rand(1, 1, 64, 64)).shape == (1, 7, 16, 16)


@both
def test_aux_params_add_classification(network: Network) -> None:
    whole, images = small(network, classes=2, aux_params={"classes": 5, "dropout": 0.5}), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        masks, class_logits = whole(images)
        linear = whole.classification_head[3]
        coarsest = whole.encoder(images)[-1].mean((2, 3))
    assert masks.shape == (3, 2, 64, 64)
    torch.testing.assert_close(class_logits, F.linear(coarsest, linear.weight, linear.bias))


@both
def test_activation_applies_to_output(network: Network) -> None:
    whole, plain, images = small(network, activation="sigmoid"), small(network), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(whole(images), plain(images).sigmoid())
        torch.testing.assert_close(whole.forward_logits(images), plain.forward_logits(images))


def symmetrize(network: nn.Module, transform: Callable[[Tensor], Tensor]) -> None:
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_((module.weight + transform(module.weight)) / 2)


SYMMETRIES: dict[str, Callable[[Tensor], Tensor]] = {
    "flipped": lambda x: x.flip(-1),
    "upside down": lambda x: x.flip(-2),
    "transposed": lambda x: x.mT,
}


@pytest.mark.parametrize("transform", SYMMETRIES.values(), ids=SYMMETRIES.keys())
@pytest.mark.parametrize(
    ("network", "encoder"),
    [
        (RefineNet, "resnet18"),
        (LightWeightRefineNet, "resnet18"),
        (LightWeightRefineNet, "mobilenet_v2"),
    ],
)
def test_geometry_is_symmetric(network: Network, encoder: str, transform: Callable[[Tensor], Tensor]) -> None:
    # At sizes 32 k + 1 strided convolutions sample symmetrically, so any shift comes from the decoder.
    whole, images = small(network, encoder_name=encoder), torch.rand(1, 3, 65, 97)
    symmetrize(whole, transform)
    with torch.no_grad():
        expected, found = transform(whole(images)), whole(transform(images))
    assert expected.std() > 1e-3
    torch.testing.assert_close(found / expected.std(), expected / expected.std(), atol=1e-3, rtol=0)


def make_smoothing(network: Any) -> None:
    """Make a network turn a dot into a smooth peak: the encoder smooths, the decoder sums its feature maps."""
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d):
                module.weight.fill_(1 / module.weight[0].numel())
                if not name.startswith("encoder"):
                    middle = module.kernel_size[0] // 2
                    module.weight[:, :, middle, middle] *= module.weight[0, 0].numel()
                    module.weight *= module.weight == module.weight.max()
                if name.endswith("conv2") and "units" in name:
                    module.weight.zero_()


@pytest.mark.parametrize("size", [(65, 97), (96, 128), (75, 110)])
@pytest.mark.parametrize(
    ("network", "encoder"),
    [(RefineNet, "resnet18"), (LightWeightRefineNet, "resnet18"), (LightWeightRefineNet, "mobilenet_v2")],
)
def test_output_is_aligned_with_image(network: Network, encoder: str, size: tuple[int, int]) -> None:
    whole = small(network, encoder_name=encoder, pooling=None)
    make_smoothing(whole)
    images = torch.zeros(5, 3, *size)
    dots = [(y, x) for y in (24, size[0] - 25) for x in (24, size[1] - 25)]
    for image, (y, x) in zip(images, dots, strict=False):
        image[:, y - 1 : y + 2, x - 1 : x + 2] = 1.0
    with torch.no_grad():
        output = whole(images)
    peaks = (output[:4] - output[4])[:, 0].double()
    for peak, (y, x) in zip(peaks, dots, strict=True):
        center = (peak > 0.98 * peak.max()).nonzero().double().mean(0)
        assert (center - torch.tensor([y, x])).abs().max() <= 6, f"the dot at {y, x} appears at {center.tolist()}"


@pytest.mark.parametrize(
    ("num_blocks", "depth", "levels"),
    [(4, 5, [1, 1, 1, 1]), (2, 5, [2, 2]), (1, 5, [4]), (4, 4, [1, 1, 1]), (2, 4, [2, 1]), (4, 3, [1, 1])],
)
def test_levels_per_block(num_blocks: int, depth: int, levels: list[int]) -> None:
    whole = small(RefineNet, num_blocks=num_blocks, encoder_depth=depth)
    assert [len(block.reduce) for block in whole.decoder.blocks] == levels
    assert whole.decoder.taps == sorted(whole.decoder.taps, reverse=True), "coarse to fine"
    with torch.no_grad():
        assert whole(torch.rand(1, 3, 64, 64)).shape == (1, 1, 64, 64)


def test_two_image_scales() -> None:
    whole = small(RefineNet, image_scales=(1.2, 0.6))
    encoders = [whole.encoder, *whole.encoders_at_other_scales]
    assert len(encoders) == 2
    assert not set(map(id, encoders[0].parameters())) & set(map(id, encoders[1].parameters()))
    assert [len(block.reduce) for block in whole.decoder.blocks] == [2, 2, 2, 2]
    assert [len(block.input_units) for block in whole.decoder.blocks] == [2, 3, 3, 3]
    sizes: list[torch.Size] = []
    for encoder in encoders:
        encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-2:]))
    with torch.no_grad():
        assert whole(torch.rand(1, 3, 50, 80)).shape == (1, 1, 50, 80)
    assert sizes == [(60, 96), (30, 48)]


def test_all_encoders_affect_all_levels() -> None:
    whole = small(RefineNet, image_scales=(1.2, 0.6))
    features = [x.detach().requires_grad_() for x in whole.features(torch.rand(1, 3, 64, 64))]
    whole.decoder(features).sum().backward()
    used = [x.grad is not None and bool(x.grad.any()) for x in features]
    assert used == [False, False, True, True, True, True] * 2, "the image and stride 2 are not used"


@pytest.mark.parametrize("kind", [None, "original", "improved"])
@both
def test_chained_pooling_is_optional(network: Network, kind: Any) -> None:
    whole = small(network, pooling=kind, pooling_blocks=2)
    assert [len(block.pooling.convs) for block in whole.decoder.blocks] == [2 if kind else 0] * 4
    if kind:
        assert [block.pooling.pool_first for block in whole.decoder.blocks] == [kind == "original"] * 4
    with torch.no_grad():
        assert whole(torch.rand(1, 3, 64, 64)).shape == (1, 1, 64, 64)


def test_decoder_initialization() -> None:
    torch.manual_seed(0)
    whole = RefineNet("resnet18", encoder_weights=None)
    named = [*whole.decoder.named_parameters(), *whole.segmentation_head.named_parameters()]
    weights = torch.cat([parameter.flatten() for name, parameter in named if name.endswith("weight")])
    assert abs(weights.mean().item()) < 1e-5
    assert weights.std().item() == pytest.approx(0.01, rel=1e-3)
    assert (weights.abs() > 0.03).float().mean().item() == pytest.approx(0.0027, rel=0.02), (
        "beyond three standard deviations"
    )
    assert not any(parameter.any() for name, parameter in named if name.endswith("bias"))


def test_blocks_start_as_the_identity() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 64, 9, 9)
    unit, pooling = ResidualConvUnit(64), ChainedResidualPooling(64)
    for block in (unit, pooling):
        block.start_as_identity()
    assert torch.equal(unit(x), x)
    assert torch.equal(pooling(x), F.relu(x))
    fusion = MultiResolutionFusion([64, 64, 64])
    fusion.start_as_identity()
    fused = fusion([torch.randn(1, 64, 64, 64) for _ in range(3)])[..., 2:-2, 2:-2]
    assert fused.std().item() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("make", [lambda **kw: RefineNet("resnet18", **kw), lambda **kw: LightWeightRefineNet(**kw)])
def test_identity_keeps_the_scale_and_trains_every_weight(make: Any) -> None:
    """With the authors' weights, the output shrinks with each block."""
    scales = {}
    for start in ("authors", "identity"):
        torch.manual_seed(0)
        network = make(encoder_weights=None, initial_weights=start).eval()
        features = [
            0.5 * torch.randn(1, width, 64 >> i, 64 >> i) for i, width in enumerate(network.encoder.out_channels)
        ]
        with torch.no_grad():
            scales[start] = network.decoder(features).std().item()
    assert scales["authors"] < 0.2
    assert 0.4 < scales["identity"] < 4
    optimizer = torch.optim.Adam(network.decoder.parameters(), lr=1e-3)  # SGD moves the end of a chain by denormals
    direction = torch.randn_like(network.decoder(features))
    before = {name: parameter.clone() for name, parameter in network.decoder.named_parameters()}
    for _ in range(6):  # zeros of a chain start to move one after the other
        optimizer.zero_grad()
        (network.decoder(features) * direction).mean().backward()
        optimizer.step()
    assert [
        name for name, parameter in network.decoder.named_parameters() if torch.equal(parameter, before[name])
    ] == []


def test_unknown_initial_weights_are_refused() -> None:
    with pytest.raises(UserError, match="initial_weights is 'xavier'; expected authors or identity"):
        LightWeightRefineNet(encoder_weights=None, initial_weights="xavier")


def dropped_fractions(decoder: nn.Module, features: list[Tensor]) -> list[float]:
    """Measure the fraction of each used feature map that dropout removes: its gradient is exactly 0."""
    features = [x.clone().requires_grad_() for x in features]
    decoder(features).square().sum().backward()
    return [round((x.grad == 0).double().mean().item(), 1) for x in features if x.grad is not None]


@pytest.mark.parametrize(
    ("network", "options", "encoders"),
    [(RefineNet, {}, 1), (RefineNet, {"image_scales": (1.2, 0.6)}, 2), (LightWeightRefineNet, {}, 1)],
)
def test_dropout_on_coarse_features(network: Network, options: dict[str, Any], encoders: int) -> None:
    decoder = small(network, **options).decoder.double()
    widths = [3, 32, 32, 48, 192, 96] * encoders
    features = [torch.randn(1, width, 16, 16, dtype=torch.float64) for width in widths]
    assert dropped_fractions(decoder.eval(), features) == [0, 0, 0, 0] * encoders
    assert dropped_fractions(decoder.train(), features) == [0, 0, 0.5, 0.5] * encoders, "stride 4, 8, 16, 32"


def test_mobile_network_has_no_dropout() -> None:
    decoder = small(LightWeightRefineNet, encoder_name="mobilenet_v2").decoder
    assert not [module for module in decoder.modules() if isinstance(module, nn.Dropout)]


@pytest.mark.parametrize(("network", "ratios"), [(RefineNet, {0.0, 2.0}), (LightWeightRefineNet, {1.0})])
def test_dropout_before_classifier(network: Network, ratios: set[float]) -> None:
    decoder = small(network).decoder
    features = [torch.randn(1, width, 16, 16) for width in [3, 32, 32, 48, 192, 96]]
    with torch.no_grad():
        evaluated = decoder(features)
        decoder.train()
        decoder.tap_dropout.p = 0.0
        trained = decoder(features)
    assert set((trained / evaluated)[evaluated != 0].round(decimals=3).tolist()) == ratios


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (RefineNet, {}),
        (RefineNet, {"image_scales": (1.0, 0.6), "num_blocks": 2, "pooling": "improved"}),
        (LightWeightRefineNet, {"classes": 3, "activation": "sigmoid"}),
        (LightWeightRefineNet, {"encoder_name": "mobilenet_v2"}),
    ],
)
def test_save_and_load(network: Network, options: dict[str, Any], tmp_path: Path) -> None:
    whole, images = small(network, **options), torch.rand(1, 3, 64, 64)
    whole.save_pretrained(tmp_path)
    loaded = network.from_pretrained(tmp_path).eval()
    assert type(loaded) is network
    with torch.no_grad():
        assert torch.equal(whole(images), loaded(images))


@both
def test_saved_network_is_self_contained(network: Network, tmp_path: Path) -> None:
    weights = tmp_path / "encoder.pth"
    torch.save(small(network).encoder.state_dict(), weights)
    whole, images = small(network, encoder_weights=weights), torch.rand(1, 3, 64, 64)
    whole.save_pretrained(tmp_path / "saved")
    weights.unlink()
    loaded = network.from_pretrained(tmp_path / "saved").eval()
    with torch.no_grad():
        assert torch.equal(whole(images), loaded(images))


def compiled(network: nn.Module, _: Tensor) -> Callable[[Tensor], Tensor]:
    torch.compiler.reset()
    return torch.compile(network, fullgraph=True, backend="eager", dynamic=True)


def exported(network: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    return torch.export.export(network, (images,), strict=True).module()


def scripted(network: nn.Module, _: Tensor) -> Callable[[Tensor], Tensor]:
    return torch.jit.script(network)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("transform", [compiled, exported, scripted])
@pytest.mark.parametrize(
    ("network", "options"),
    [
        pytest.param(RefineNet, {}, marks=pytest.mark.slow, id="RefineNet"),
        pytest.param(LightWeightRefineNet, {}, id="LightWeightRefineNet"),
        pytest.param(RefineNet, {"image_scales": (1.2, 0.6)}, marks=pytest.mark.slow, id="two scales"),
        pytest.param(RefineNet, {"aux_params": {"classes": 2}}, marks=pytest.mark.slow, id="classification"),
        pytest.param(LightWeightRefineNet, {"encoder_name": "mobilenet_v2"}, marks=pytest.mark.slow, id="mobile"),
    ],
)
def test_compile_export_script(
    network: Network, options: dict[str, Any], transform: Callable[[nn.Module, Tensor], Callable[[Tensor], Tensor]]
) -> None:
    whole, images = small(network, **options), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(transform(whole, images)(images), whole(images))


@both
@pytest.mark.parametrize(
    "encoder",
    ["mobilenet_v2", "efficientnet-b0", "mit_b0", "vgg11_bn", "tu-convnext_atto", "tu-mobilenetv3_small_100"],
)
def test_encoder_families(network: Network, encoder: str) -> None:
    whole = small(network, encoder_name=encoder, classes=2)
    with torch.no_grad():
        assert whole(torch.rand(1, 3, 65, 97)).shape == (1, 2, 65, 97)


@both
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder_name": "tu-test_vit"}, "tu-test_vit.*downsampling"),
        ({"encoder_depth": 2}, "encoder_depth is 2"),
        ({"encoder_depth": 6}, "encoder_depth is 6"),
        ({"decoder_channels": (16, 8)}, "decoder_channels has 2 entries.*needs 4"),
    ],
)
def test_unsuitable_arguments(network: Network, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        small(network, **options)


@pytest.mark.parametrize(
    ("options", "words"), [({"num_blocks": 3}, "num_blocks is 3"), ({"image_scales": ()}, "image_scales is empty")]
)
def test_unknown_variants(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        small(RefineNet, **options)
