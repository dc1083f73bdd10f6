"""Published weights: logits equal those of the published implementations, and unfitting keys are named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.published_weights import (
    LAYOUTS,
    RECORDED,
    Shapes,
    digest,
    draw,
    logits_at_stride_4,
    published_shapes,
    summarize,
)
from helpers.unsafe import Bomb
from safetensors.torch import save_file
from torch import Tensor

from refinenet_pl.errors import UserError
from refinenet_pl.networks import LightWeightRefineNet
from refinenet_pl.weights import load_published

State = dict[str, Tensor]


def shapes_of(model: str) -> Shapes:
    layout, encoder = model.split("-")
    return published_shapes(layout, encoder)


@pytest.mark.parametrize("model", RECORDED)
def test_layouts_match_published_files(model: str) -> None:
    shapes = shapes_of(model)
    assert len(shapes) == RECORDED[model]["keys"]
    assert digest(shapes) == RECORDED[model]["digest"]


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=pytest.mark.slow if "101" in m or "152" in m else []) for m in RECORDED]
)
def test_logits_match_published_code(model: str, tmp_path: Path) -> None:
    recorded = RECORDED[model]
    torch.save(draw(shapes_of(model), recorded["seed"]), tmp_path / "published.pth.tar")
    published = load_published(tmp_path / "published.pth.tar")
    found = summarize(logits_at_stride_4(published.network, recorded["size"]))
    assert found["shape"] == recorded["shape"]
    for kind in ("projections", "values"):
        scale = np.abs(recorded[kind]).max()
        np.testing.assert_allclose(found[kind], recorded[kind], rtol=0, atol=1e-9 * scale)


def test_every_encoder_has_vectors() -> None:
    resnets = {f"{layout}-resnet{depth}" for layout in ("refinenet", "lightweight") for depth in (50, 101, 152)}
    assert set(RECORDED) == resnets | {"mobilenet-mobilenet_v2"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_key_has_one_published_key(layout: str) -> None:
    pairs = list(LAYOUTS[layout]())
    assert len({theirs for theirs, _ in pairs}) == len({ours for _, ours in pairs}) == len(pairs)


@pytest.fixture(scope="module")
def mobile() -> State:
    """The smallest published network, with five classes."""
    return draw(published_shapes("mobilenet", "mobilenet_v2", classes=5), seed=3)


WRAPPERS: dict[str, tuple[Callable[[State], dict[str, Any]], str]] = {
    "bare": (lambda state: state, "none"),
    "module.": (lambda state: {f"module.{k}": v for k, v in state.items()}, "'module.' before each key"),
    "segmenter": (
        # Training on several GPUs wrote files like this, with a score of type numpy.float64.
        lambda state: {
            "segmenter": {f"module.{k}": v for k, v in state.items()},
            "epoch_start": 5,
            "best_val": np.float64(0.5),
        },
        "{'segmenter': ...}, 'module.' before each key",
    ),
    "model": (lambda state: {"model": state, "epoch": 3}, "{'model': ...}"),
    "state_dict": (lambda state: {"state_dict": state}, "{'state_dict': ...}"),
    "weights": (
        lambda state: {"weights": state, "model_metadata": {"type": "lightweight", "num_layers": 50}},
        "{'weights': ...}",
    ),
    "no counts of batches": (lambda state: {k: v for k, v in state.items() if "num_batches" not in k}, "none"),
}


@pytest.mark.parametrize(("wrap", "wrapping"), WRAPPERS.values(), ids=WRAPPERS.keys())
def test_wrappers_are_removed(
    wrap: Callable[[State], dict[str, Any]], wrapping: str, mobile: State, tmp_path: Path
) -> None:
    torch.save(wrap(mobile), tmp_path / "rf_lwmbv2.pth.tar")
    published = load_published(tmp_path / "rf_lwmbv2.pth.tar")
    assert (published.architecture, published.classes) == ("Light-Weight RefineNet with MobileNet-v2", 5)
    assert published.wrapping == wrapping
    state = published.network.state_dict()
    assert set(published.mapping.values()) | {k for k in state if "num_batches" in k} == set(state)
    assert all(torch.equal(state[ours], mobile[theirs]) for theirs, ours in published.mapping.items())


def test_old_numpy_and_torch_files_load(mobile: State, tmp_path: Path) -> None:
    path = tmp_path / "old.pth.tar"
    torch.save({"segmenter": mobile, "best_val": np.float64(0.5)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert load_published(path).classes == 5


def test_path_may_be_text(mobile: State, tmp_path: Path) -> None:
    torch.save(mobile, tmp_path / "weights.pth")
    assert load_published(str(tmp_path / "weights.pth")).classes == 5


def test_safetensors_load(mobile: State, tmp_path: Path) -> None:
    save_file(mobile, tmp_path / "weights.safetensors")
    assert load_published(tmp_path / "weights.safetensors").classes == 5


def without(state: State, key: str) -> State:
    return {name: value for name, value in state.items() if name != key}


DAMAGES: dict[str, tuple[Callable[[State], State], str, str]] = {
    "missing": (
        lambda state: without(state, "conv_adapt3.weight"),
        "conv_adapt3.weight",
        r"1 missing: conv_adapt3\.weight",
    ),
    "unexpected": (
        lambda state: {**state, "fc.weight": torch.ones(1)},
        "fc.weight",
        r"1 .*: fc\.weight",
    ),
    "other shape": (
        lambda state: {**state, "conv8.weight": torch.ones(256, 320, 3, 3)},
        "conv8.weight",
        r"1 .*: conv8\.weight is \(256, 320, 3, 3\), expected \(256, 320, 1, 1\)",
    ),
}


@pytest.mark.parametrize(("damage", "key", "words"), DAMAGES.values(), ids=DAMAGES.keys())
def test_unfitting_keys_must_be_ignored_by_name(
    damage: Callable[[State], State], key: str, words: str, mobile: State, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(damage(mobile), path)
    with pytest.raises(UserError, match=words) as raised:
        load_published(path)
    assert str(path) in str(raised.value)
    with pytest.raises(UserError, match=words):
        load_published(path, ignore=["conv7.weight"])
    published = load_published(path, ignore=[key])
    assert published.ignored == (key,)
    assert set(published.mapping) == set(mobile) - {key}


def test_unknown_ignored_key_is_refused(mobile: State, tmp_path: Path) -> None:
    torch.save(mobile, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"conv9\.weight: neither"):
        load_published(tmp_path / "weights.pth", ignore=["conv9.weight"])


def test_unknown_layout_is_refused(tmp_path: Path) -> None:
    torch.save(LightWeightRefineNet("resnet18", encoder_weights=None).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"no known layout.*encoder\.conv1\.weight.*weights export"):
        load_published(tmp_path / "weights.pth")


def test_unsafe_pickle_runs_nothing(mobile: State, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    torch.save({"segmenter": mobile, "bomb": Bomb(victim)}, tmp_path / "weights.pth.tar")
    with pytest.raises(UserError, match=r"weights\.pth\.tar safely"):
        load_published(tmp_path / "weights.pth.tar")
    assert not victim.exists()
    torch.load(tmp_path / "weights.pth.tar", weights_only=False)
    assert victim.exists(), "the file is harmless: this test shows nothing"
