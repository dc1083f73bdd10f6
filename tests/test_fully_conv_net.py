"""FullyConvNet: strides, weights, dilation, and smp's conventions."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from helpers.commands import refinenet
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.networks import FullyConvNet
from refinenet_pl.networks.encoders import make_encoder

STRIDES = [32, 16, 8]


def small(**options: Any) -> Any:
    """Make a small network in evaluation mode, with logits of the order of one."""
    torch.manual_seed(0)
    network = FullyConvNet(
        **({"encoder_name": "tu-test_resnet.r160_in1k", "encoder_weights": None, "classes": 3} | options)
    )
    nn.init.kaiming_normal_(network.segmentation_head[0].weight)
    return network.eval()


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("size", [(65, 97), (64, 96)])
def test_logits_have_output_stride(stride: int, encoder: str, size: tuple[int, int]) -> None:
    network, images = small(encoder_name=encoder, output_stride=stride), torch.rand(2, 3, *size)
    with torch.no_grad():
        logits, output = network.forward_logits(images), network(images)
    assert logits.shape == (2, 3, -(-size[0] // stride), -(-size[1] // stride))
    assert output.shape == (2, 3, *size)
    torch.testing.assert_close(output, F.interpolate(logits, size, mode="bilinear", align_corners=False))


def test_output_has_input_size() -> None:
    for size in [(33, 129), (40, 50), (1, 1)]:
        with torch.no_grad():
            assert small(output_stride=8)(torch.rand(1, 3, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("encoder", ["resnet50", "tu-resnet50"])
def test_dilation_keeps_weight_shapes(encoder: str) -> None:
    shapes = []
    for stride in STRIDES:
        with torch.device("meta"):
            network = FullyConvNet(encoder, encoder_weights=None, classes=21, output_stride=stride)
        # ResNet-50 without its classifier, plus 2048 x 3 x 3 weights and a bias per class.
        assert sum(parameter.numel() for parameter in network.parameters()) == 23_508_032 + 21 * (2048 * 9 + 1)
        shapes.append({key: value.shape for key, value in network.state_dict().items()})
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize(("stride", "step"), [(16, 2), (8, 4)])
@pytest.mark.parametrize("size", [(65, 97), (64, 96)])
def test_dilated_timm_contains_plain_features(stride: int, step: int, size: tuple[int, int]) -> None:
    plain, dilated = (small(encoder_name="tu-resnet18", output_stride=s).encoder.double() for s in (32, stride))
    dilated.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        coarse, fine = plain(images)[-1], dilated(images)[-1]
    assert coarse.std() > 0.01
    torch.testing.assert_close(fine[..., ::step, ::step], coarse)


def test_classifier_formula() -> None:
    network, images = small(output_stride=16), torch.rand(1, 3, 64, 96)
    (classifier,) = [m for m in network.segmentation_head.modules() if isinstance(m, nn.Conv2d)]
    assert classifier.bias is not None
    nn.init.normal_(classifier.bias)
    with torch.no_grad():
        last = network.encoder(images)[-1]
        expected = F.conv2d(last, classifier.weight, classifier.bias, padding=1)
        torch.testing.assert_close(network.forward_logits(images), expected)
    assert classifier.kernel_size == (3, 3)


def test_classifier_initialization() -> None:
    torch.manual_seed(0)
    classifier = FullyConvNet("resnet18", encoder_weights=None, classes=21).segmentation_head[0]
    assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert not classifier.bias.any()


@pytest.mark.parametrize("dropout", [0.5, 0.2])
def test_dropout_in_training_only(dropout: float) -> None:
    decoder, last = small(dropout=dropout).decoder, torch.ones(1, 8, 100, 100)
    assert torch.equal(decoder([last]), last)
    dropped: Tensor = decoder.train()([last])
    assert (dropped == 0).float().mean().item() == pytest.approx(dropout, abs=0.01)
    assert dropped.max().item() == pytest.approx(1 / (1 - dropout))


def test_arguments_of_smp_models() -> None:
    assert issubclass(FullyConvNet, smp.base.SegmentationModel)
    names = [
        name for name in inspect.signature(smp.FPN).parameters if not name.startswith(("decoder_", "upsampl", "kwargs"))
    ]
    parameters = inspect.signature(FullyConvNet).parameters
    assert set(list(parameters)[:7]) == set(names)
    assert parameters["classes"].default == 1
    assert {"encoder", "decoder", "segmentation_head"} <= {name for name, _ in small().named_children()}


def test_aux_params_and_activation() -> None:
    network = small(output_stride=8, activation="sigmoid", aux_params={"classes": 5})
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        masks, class_logits = network(images)
        linear = network.classification_head[3]
        last = network.encoder(images)[-1].mean((2, 3))
        upsampled = F.interpolate(network.forward_logits(images), (64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(masks, upsampled.sigmoid())
    torch.testing.assert_close(class_logits, F.linear(last, linear.weight, linear.bias))


@pytest.mark.parametrize("stride", STRIDES)
def test_save_and_load(stride: int, tmp_path: Path) -> None:
    network, images = small(output_stride=stride), torch.rand(1, 3, 64, 64)
    network.save_pretrained(tmp_path)
    loaded = FullyConvNet.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert loaded.forward_logits(images).shape[-1] == 64 // stride
        assert torch.equal(network(images), loaded(images))


def test_plain_weights_fit_dilated_encoder(tmp_path: Path) -> None:
    plain = make_encoder("resnet18", 3, 5, None)
    torch.save(plain.state_dict(), tmp_path / "encoder.pth")
    encoder = small(encoder_name="resnet18", encoder_weights=str(tmp_path / "encoder.pth"), output_stride=8).encoder
    assert all(torch.equal(value, encoder.state_dict()[key]) for key, value in plain.state_dict().items())


@pytest.mark.parametrize("transform", ["compile", "export", "script"])
@pytest.mark.filterwarnings("ignore")
def test_compile_export_script(transform: str) -> None:
    network, images = small(output_stride=8), torch.rand(2, 3, 64, 64)
    if transform == "compile":
        torch.compiler.reset()
        transformed: Any = torch.compile(network, fullgraph=True, backend="eager", dynamic=True)
    elif transform == "export":
        transformed = torch.export.export(network, (images,), strict=True).module()
    else:
        transformed = torch.jit.script(network)
    with torch.no_grad():
        torch.testing.assert_close(transformed(images), network(images))


def test_short_name_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data=CamVidDataModule", f"--data.root={tmp_path}"]
    network = ["--model.network=FullyConvNet", "--model.network.encoder_weights=null"]
    with pytest.raises(SystemExit) as exit:
        refinenet(monkeypatch, "fit", *data, *network, "--print_config")
    assert exit.value.code == 0
    assert "class_path: refinenet_pl.networks.FullyConvNet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder_name": "densenet121"}, "densenet121.*dilated mode"),
        ({"encoder_name": "tu-dla34"}, "tu-dla34.*output_stride=8.*Not every encoder can be dilated"),
        ({"encoder_name": "tu-pvt_v2_b0"}, "tu-pvt_v2_b0.*output_stride=8.*Not every encoder can be dilated"),
        ({"encoder_name": "resnet18", "output_stride": 4}, "Output stride should be 16 or 8, got 4"),
        ({"encoder_depth": 6}, "encoder_depth is 6"),
    ],
)
def test_unsuitable_arguments(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        small(**{"output_stride": 8, **options})
