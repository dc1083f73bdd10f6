"""PublishedWeights weights: the same logits as the published implementations gave, and what does not fit is named."""

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
    figures,
    logits_at_stride_4,
    published_shapes,
)
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
def test_the_layouts_have_the_published_keys_and_shapes(model: str) -> None:
    shapes = shapes_of(model)
    assert len(shapes) == RECORDED[model]["keys"]
    assert digest(shapes) == RECORDED[model]["digest"]


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=pytest.mark.slow if "101" in m or "152" in m else []) for m in RECORDED]
)
def test_logits_are_those_of_the_published_implementation(model: str, tmp_path: Path) -> None:
    recorded = RECORDED[model]
    torch.save(draw(shapes_of(model), recorded["seed"]), tmp_path / "published.pth.tar")
    published = load_published(tmp_path / "published.pth.tar")
    found = figures(logits_at_stride_4(published.network, recorded["size"]))
    assert found["shape"] == recorded["shape"]
    for kind in ("projections", "values"):
        scale = np.abs(recorded[kind]).max()
        np.testing.assert_allclose(found[kind], recorded[kind], rtol=0, atol=1e-9 * scale)


def test_there_are_vectors_for_every_layout_and_encoder() -> None:
    resnets = {f"{layout}-resnet{depth}" for layout in ("refinenet", "lightweight") for depth in (50, 101, 152)}
    assert set(RECORDED) == resnets | {"mobilenet-mobilenet_v2"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_of_our_keys_has_one_published_key(layout: str) -> None:
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
        # As training on several GPUs wrote it, with a score that is numpy's.
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
    "without counts of batches": (lambda state: {k: v for k, v in state.items() if "num_batches" not in k}, "none"),
}


@pytest.mark.parametrize(("wrap", "said"), WRAPPERS.values(), ids=WRAPPERS.keys())
def test_weights_come_out_of_every_wrapper_unchanged(
    wrap: Callable[[State], dict[str, Any]], said: str, mobile: State, tmp_path: Path
) -> None:
    torch.save(wrap(mobile), tmp_path / "rf_lwmbv2.pth.tar")
    published = load_published(tmp_path / "rf_lwmbv2.pth.tar")
    assert (published.architecture, published.classes) == ("Light-Weight RefineNet with MobileNet-v2", 5)
    assert published.wrapping == said
    own = published.network.state_dict()
    assert set(published.mapping.values()) | {k for k in own if "num_batches" in k} == set(own)
    assert all(torch.equal(own[ours], mobile[theirs]) for theirs, ours in published.mapping.items())


def test_a_pickle_of_numpy_1_and_of_old_torch_is_read(mobile: State, tmp_path: Path) -> None:
    path = tmp_path / "old.pth.tar"
    torch.save({"segmenter": mobile, "best_val": np.float64(0.5)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert load_published(path).classes == 5


def test_weights_come_from_safetensors(mobile: State, tmp_path: Path) -> None:
    save_file(mobile, tmp_path / "weights.safetensors")
    assert load_published(tmp_path / "weights.safetensors").classes == 5


def without(state: State, key: str) -> State:
    return {name: value for name, value in state.items() if name != key}


DAMAGES: dict[str, tuple[Callable[[State], State], str, str]] = {
    "missing": (
        lambda state: without(state, "conv_adapt3.weight"),
        "conv_adapt3.weight",
        r"1 missing: conv_adapt3\.weight\n",
    ),
    "left over": (
        lambda state: {**state, "fc.weight": torch.ones(1)},
        "fc.weight",
        r"1 left over: fc\.weight\n",
    ),
    "of another shape": (
        lambda state: {**state, "conv8.weight": torch.ones(256, 320, 3, 3)},
        "conv8.weight",
        r"1 of another shape: conv8\.weight is \(256, 320, 3, 3\), expected \(256, 320, 1, 1\)\n",
    ),
}


@pytest.mark.parametrize(("damage", "key", "words"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_key_that_does_not_fit_is_named_and_passes_only_if_ignored_by_name(
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


def test_an_ignored_key_that_nobody_has_is_refused(mobile: State, tmp_path: Path) -> None:
    torch.save(mobile, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"conv9\.weight: neither"):
        load_published(tmp_path / "weights.pth", ignore=["conv9.weight"])


def test_what_is_of_no_published_layout_is_refused_with_some_of_its_keys(tmp_path: Path) -> None:
    torch.save(LightWeightRefineNet("resnet18", encoder_weights=None).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"no layout known here.*encoder\.conv1\.weight.*weights export"):
        load_published(tmp_path / "weights.pth")


class Bomb:
    """Pickles to a call that makes a file when it is read."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.victim), "w"))


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(mobile: State, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    torch.save({"segmenter": mobile, "bomb": Bomb(victim)}, tmp_path / "weights.pth.tar")
    with pytest.raises(UserError, match=r"weights\.pth\.tar safely"):
        load_published(tmp_path / "weights.pth.tar")
    assert not victim.exists()
    torch.load(tmp_path / "weights.pth.tar", weights_only=False)
    assert victim.exists(), "the file is harmless: this test shows nothing"
