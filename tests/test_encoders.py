"""Encoders: weight files, refused arguments, and pixel statistics."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from refinenet_pl.errors import UserError
from refinenet_pl.networks import encoders
from refinenet_pl.networks.encoders import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    MobileNetV2Taps,
    is_weight_file,
    load_encoder_weights,
    make_encoder,
    pixel_statistics,
)
from refinenet_pl.networks.state_dict import read_state_dict

State = dict[str, Tensor]

TINY = "tu-test_resnet"


@pytest.fixture
def classifier() -> State:
    """The state dict of a classification network, as files hold it."""
    torch.manual_seed(1)
    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    return {key: torch.randn_like(value) if value.is_floating_point() else value for key, value in state.items()}


def features(encoder: torch.nn.Module) -> list[Tensor]:
    torch.manual_seed(2)
    with torch.no_grad():
        return encoder.eval()(torch.rand(1, 3, 64, 64))


WRAPPERS: dict[str, Callable[[State], dict[str, Any]]] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state},
    "parallel prefix": lambda state: {f"module.{key}": value for key, value in state.items()},
    "no num_batches_tracked": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_torch_file_in_usual_wrappers(
    wrap: Callable[[State], dict[str, Any]], classifier: State, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(wrap(classifier), path)
    encoder = make_encoder(TINY, 3, 5, str(path))
    loaded = {key.removeprefix("model."): value for key, value in encoder.state_dict().items()}
    left = {key for key in classifier if key not in loaded}
    assert left == {"fc.weight", "fc.bias"}
    wrong = [k for k, v in loaded.items() if "num_batches" not in k and not torch.equal(v, classifier[k])]
    assert wrong == []


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "test_nfnet"])
def test_safetensors_of_timm_families(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network: Any = timm.create_model(name, pretrained=False).eval()
    if not hasattr(network, "forward_intermediates"):
        pytest.skip(f"timm {timm.__version__} gives no intermediate features of {name}, the reference here")
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    found = features(make_encoder(f"tu-{name}", 3, 5, str(tmp_path / "weights.safetensors")))
    torch.manual_seed(2)
    with torch.no_grad():
        expected = network.forward_intermediates(torch.rand(1, 3, 64, 64), intermediates_only=True)
    torch.testing.assert_close(found[-1], expected[-1])


@pytest.mark.parametrize("kind", [str, Path])
def test_encoder_state_dict(kind: type, tmp_path: Path) -> None:
    torch.manual_seed(3)
    encoder = make_encoder(TINY, 3, 5, None)
    path = kind(tmp_path / "encoder.pth")
    torch.save(encoder.state_dict(), path)
    loaded = make_encoder(TINY, 3, 5, path)
    for found, expected in zip(features(loaded), features(encoder), strict=True):
        assert torch.equal(found, expected)
    load_encoder_weights(loaded, path)
    assert read_state_dict(path).tensors.keys() == encoder.state_dict().keys()


def test_weight_file_or_name() -> None:
    for file in (Path("weights"), "weights.pth", "folder/weights", "weights.safetensors"):
        assert is_weight_file(file)
    for name in ("imagenet", "noisy-student", True, False, None):
        assert not is_weight_file(name)


def without(state: State, key: str) -> State:
    return {name: value for name, value in state.items() if name != key}


DAMAGES: dict[str, tuple[Callable[[State], State], str]] = {
    "missing": (lambda state: without(state, "conv1.0.weight"), r"1 missing: model\.conv1\.0\.weight\n"),
    "left over": (lambda state: {**state, "layer9.weight": torch.ones(1)}, r"1 left over: layer9\.weight\n"),
    "mis-shaped": (
        lambda state: {**state, "bn1.weight": torch.ones(5)},
        r"1 of another shape: model\.bn1\.weight is \(5,\), expected \(32,\)\n",
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES.keys())
def test_mismatched_key_is_named(
    damage: Callable[[State], State], words: str, classifier: State, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(damage(classifier), path)
    with pytest.raises(UserError, match=words) as raised:
        make_encoder(TINY, 3, 5, str(path))
    assert str(path) in str(raised.value)


def test_mismatch_changes_nothing(classifier: State, tmp_path: Path) -> None:
    encoder = make_encoder(TINY, 3, 5, None)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    torch.save(without(classifier, "layer1.0.conv1.weight"), tmp_path / "weights.pth")
    with pytest.raises(UserError):
        load_encoder_weights(encoder, tmp_path / "weights.pth")
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


class Bomb:
    """Pickles to a call that creates a file on unpickling."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.victim), "w"))


def test_pickle_with_code_is_refused(classifier: State, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    torch.save({"state_dict": classifier, "bomb": Bomb(victim)}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"weights\.pth safely"):
        make_encoder(TINY, 3, 5, str(tmp_path / "weights.pth"))
    assert not victim.exists()
    torch.load(tmp_path / "weights.pth", weights_only=False)
    assert victim.exists(), "the pickle creates the file if it is allowed to"


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(UserError, match=name):
        make_encoder(TINY, 3, 5, str(tmp_path / name))


def test_file_without_state_dict(tmp_path: Path) -> None:
    torch.save([torch.ones(1)], tmp_path / "weights.pth")
    with pytest.raises(UserError, match="holds list; expected a state dict"):
        make_encoder(TINY, 3, 5, str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("weights", ["nowhere.pth", "folder/nowhere"])
def test_missing_file_is_named(weights: str) -> None:
    with pytest.raises(UserError, match=f"no file {weights}"):
        make_encoder(TINY, 3, 5, weights)


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("resnet_18", None, "resnet_18.*resnet18"),
        ("tu-nothing", None, "nothing"),
        ("resnet18", "imagenette", "imagenette.*imagenet.*ssl"),
        ("resnet18", True, "resnet18.*imagenet"),
        ("tu-test_vit", None, "tu-test_vit.*downsampling"),
    ],
)
def test_unknown_names_are_refused(name: str, weights: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_encoder(name, 3, 5, weights)


@pytest.mark.parametrize(("name", "weights"), [("resnet_18", "imagenet"), ("resnet18", "imagenette")])
def test_statistics_of_unknown_names(name: str, weights: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*{weights}"):
        pixel_statistics(name, weights)


def test_failed_download_names_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no connection")

    monkeypatch.setattr(encoders, "check_hub", lambda *_: None)  # the server answers, and the download fails
    monkeypatch.setattr(smp.encoders, "get_encoder", offline)
    monkeypatch.setattr(smp.encoders, "get_preprocessing_params", offline)
    for call in (lambda: make_encoder("resnet18", 3, 5, "imagenet"), lambda: pixel_statistics("resnet18", "imagenet")):
        with pytest.raises(UserError, match=r"resnet18.*imagenet.*no connection"):
            call()


def test_pixel_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    imagenet, half = (list(IMAGENET_MEAN), list(IMAGENET_STD)), ([0.5] * 3, [0.5] * 3)
    assert imagenet == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert pixel_statistics("resnet18", None) == imagenet
    assert pixel_statistics("mobilenet_v2", "folder/mobilenet.pth") == imagenet
    for weights in (None, True, "folder/lite.pth"):
        assert pixel_statistics("tu-tf_efficientnet_lite0", weights) == half
    monkeypatch.setattr(encoders, "check_hub", lambda *_: None)
    monkeypatch.setattr(smp.encoders, "get_preprocessing_params", lambda *_: {"mean": [0.5] * 3, "std": [0.5] * 3})
    assert pixel_statistics("inceptionv4", "imagenet") == half


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_rgb_file_serves_gray_images(name: str, tmp_path: Path) -> None:
    torch.manual_seed(4)
    rgb = make_encoder(name, 3, 3, None).eval()
    torch.save(rgb.state_dict(), tmp_path / "weights.pth")
    gray = make_encoder(name, 1, 3, str(tmp_path / "weights.pth")).eval()
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(gray(image)[-1], rgb(image.expand(-1, 3, -1, -1))[-1])


def test_rgb_file_needs_three_channels(classifier: State, tmp_path: Path) -> None:
    torch.save(classifier, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="takes 3 channels, not in_channels=1"):
        make_encoder(TINY, 1, 5, str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("depth", [3, 4, 5])
def test_mobilenet_strides(depth: int) -> None:
    taps = MobileNetV2Taps(make_encoder("mobilenet_v2", 3, depth, None), depth)
    found = features(taps)
    strides = [64 // x.shape[-1] for x in found]
    count = {3: 4, 4: 6, 5: 8}[depth]
    assert strides == [1, 2, 4, 8, 16, 16, 32, 32][:count]
    assert [x.shape[1] for x in found] == taps.out_channels == [3, 16, 24, 32, 64, 96, 160, 320][:count]
    assert taps.output_stride == strides[-1]
    assert sum(taps.features_per_stride) == count - 2


def test_mobilenet_matches_torchvision(real_data: Path) -> None:
    path = real_data / "weights" / "mobilenet_v2-b0353104.pth"
    original = torchvision.models.mobilenet_v2()
    original.load_state_dict(torch.load(path, weights_only=True))
    torch.manual_seed(2)
    outputs = [torch.rand(1, 3, 64, 64)]
    with torch.no_grad():
        for layer in original.eval().features:
            outputs.append(layer(outputs[-1]))
    encoder = make_encoder("mobilenet_v2", 3, 5, str(path))
    for found, end in zip(features(encoder)[1:], [1, 3, 6, 13, 18], strict=True):
        torch.testing.assert_close(found, outputs[end + 1])
    for found, end in zip(features(MobileNetV2Taps(encoder))[1:], [1, 3, 6, 10, 13, 16, 17], strict=True):
        torch.testing.assert_close(found, outputs[end + 1])
