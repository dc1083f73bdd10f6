"""`load` takes runs, checkpoints, weights folders and published files, and refuses everything else in words."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import ARGUMENTS, PREPROCESSING, run_settings, small_network, write_checkpoint
from helpers.own_network import Shallow
from helpers.published_weights import draw, published_shapes
from helpers.unsafe import Bomb
from safetensors.torch import save_file
from torch import nn

import refinenet_pl
from refinenet_pl import load
from refinenet_pl.data.classes import VOC
from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.evaluation.segmenter import Segmenter
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.weights import write_weights_folder
from refinenet_pl.weights.checkpoint import CONFIG_KEY

PIXELS = np.random.default_rng(0).integers(0, 256, (65, 97, 3), dtype=np.uint8)
KINDS = ("run", "run/checkpoints/last.ckpt", "weights", "published.pth.tar")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return small_network()


@pytest.fixture(scope="module")
def files(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file or folder of each of KINDS."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").touch()
    write_checkpoint(folder / "run" / "checkpoints" / "last.ckpt", network)
    write_weights_folder(folder / "weights", small_network(), Preprocessing(**PREPROCESSING), "# Card\n")
    torch.save({"model": draw(published_shapes("mobilenet", "mobilenet_v2"), seed=1)}, folder / "published.pth.tar")
    return folder


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("path_type", [str, Path])
def test_load_predicts_as_the_network(kind: str, path_type: type, files: Path, network: nn.Module) -> None:
    segmenter = load(path_type(files / kind))
    expected = Segmenter(network, Preprocessing(**PREPROCESSING)).predict(PIXELS)
    np.testing.assert_array_equal(segmenter.predict(PIXELS), expected)
    assert len(np.unique(expected)) > 1
    assert not segmenter.network.training
    assert segmenter.class_names == ["ground", "sky", "tree"]
    assert segmenter.inference == Inference()
    assert np.asarray(segmenter.overlay(PIXELS)).shape == PIXELS.shape


def test_published_file_has_voc_names(files: Path) -> None:
    segmenter = load(files / "published.pth.tar")
    assert segmenter.class_names == list(VOC.names)
    assert segmenter.preprocessing.mean == [0.485, 0.456, 0.406]
    assert not segmenter.network.training


def test_published_safetensors_load(tmp_path: Path) -> None:
    save_file(draw(published_shapes("mobilenet", "mobilenet_v2", classes=5), seed=1), tmp_path / "five.safetensors")
    assert load(tmp_path / "five.safetensors").class_names == [f"class {index}" for index in range(5)]


def test_load_and_predict_without_lightning(files: Path) -> None:
    code = f"""
import sys
import numpy as np
from refinenet_pl import load
for kind in {KINDS}:
    prediction = load({str(files)!r} + "/" + kind).predict(np.zeros((64, 64, 3), np.uint8))
    assert prediction.shape == (64, 64)
    assert "pytorch_lightning" not in sys.modules and "lightning" not in sys.modules, kind
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_is_cheap() -> None:
    code = "import sys, refinenet_pl; assert not {'torch', 'numpy', 'pytorch_lightning'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_package_names() -> None:
    for name in refinenet_pl.__all__:
        assert callable(getattr(refinenet_pl, name))
        assert name in dir(refinenet_pl)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        refinenet_pl.nothing  # noqa: B018


def test_best_checkpoint_comes_first(files: Path, tmp_path: Path) -> None:
    for name, seed in (("best", 1), ("last", 2)):
        write_checkpoint(tmp_path / "checkpoints" / f"{name}.ckpt", small_network(seed))
    expected = small_network(1).state_dict()
    state = load(tmp_path).network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in expected.items())


def test_configured_inference_is_used(network: nn.Module, tmp_path: Path) -> None:
    inference = {"scales": [0.5, 1.0], "flip": True, "window": [64, 64], "stride": None, "windows_per_batch": 2}
    path = write_checkpoint(tmp_path / "best.ckpt", network, run_settings(inference=inference))
    assert load(path).inference == Inference((0.5, 1.0), flip=True, window=(64, 64), windows_per_batch=2)


def test_channels_last_is_kept(network: nn.Module, tmp_path: Path) -> None:
    segmenter = load(write_checkpoint(tmp_path / "best.ckpt", network, run_settings(channels_last=True)))
    weights = [weight for weight in segmenter.network.parameters() if weight.ndim == 4 and weight.shape[-1] > 1]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert segmenter.normalize.memory_format == torch.channels_last


def test_own_network_gets_the_weights(tmp_path: Path) -> None:
    trained, given = Shallow(3, None).eval(), Shallow(3, None).eval()
    config = run_settings(network={"class_path": "helpers.own_network.Shallow", "init_args": {"classes": 3}})
    path = write_checkpoint(tmp_path / "checkpoints" / "best.ckpt", trained, config)
    expected = Segmenter(trained, Preprocessing(**PREPROCESSING)).predict(PIXELS)
    for source in (path, tmp_path):
        np.testing.assert_array_equal(load(source, given).predict(PIXELS), expected)
    with pytest.raises(UserError, match="not fit Shallow"):
        load(path, Shallow(4, None))
    with pytest.raises(UserError, match="network=YourNetwork"):
        load(path)


@pytest.mark.parametrize("kind", ["weights", "published.pth.tar"])
def test_network_is_for_checkpoints_alone(kind: str, files: Path, network: nn.Module) -> None:
    with pytest.raises(UserError, match=f"{kind}: found no checkpoint; expected one"):
        load(files / kind, network)


def with_network(class_path: str, **arguments: Any) -> dict[str, Any]:
    return run_settings(network={"class_path": class_path, "init_args": ARGUMENTS | arguments})


OURS = "refinenet_pl.networks.LightWeightRefineNet"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (with_network("mycode.LightWeightRefineNet"), r"mycode\.LightWeightRefineNet; expected.*network=YourNetwork"),
        (with_network("torch.nn.Linear"), r"torch\.nn\.Linear; expected a class of refinenet_pl\.networks or"),
        (
            with_network(OURS, classes=4),
            r"not fit LightWeightRefineNet.*\(3, 16, 3, 3\), expected \(4, 16, 3, 3\)",
        ),
        (with_network(OURS, colour=1), "cannot build .*LightWeightRefineNet.*colour"),
        (with_network(OURS, encoder_name="none"), "none"),
        (run_settings(inference={"scales": [1.0], "zoom": 2}), "inference has unknown keys: zoom; expected scales"),
        (run_settings(inference={"scales": [-1.0]}), "cannot use its inference"),
        (run_settings(preprocessing=PREPROCESSING | {"gamma": 2}), "preprocessing has unknown keys: gamma"),
        (run_settings(preprocessing=PREPROCESSING | {"class_names": ["a"]}), "1 class_names and 3 class_colors"),
        (run_settings(preprocessing=PREPROCESSING | {"image_scale": 2}), "image_scale 2; expected"),
        (run_settings(preprocessing=None), "configuration is incomplete.*expected model.network"),
        (run_settings(network="RefineNet"), "configuration is incomplete"),
        ({"trainer": {}}, "configuration is incomplete"),
        ("[1, 2", "as YAML"),
        ("text", "is str; expected a mapping"),
    ],
)
def test_bad_configuration_is_refused(config: Any, message: str, network: nn.Module, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.ckpt", network, config)
    with pytest.raises(UserError, match=f"(?s){message}") as raised:
        load(path)
    assert str(path) in str(raised.value)


def test_configured_module_is_not_imported(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "untrusted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    path = write_checkpoint(tmp_path / "best.ckpt", network, with_network("untrusted.RefineNet"))
    with pytest.raises(UserError, match=r"untrusted\.RefineNet"):
        load(path)


def test_unsafe_checkpoint_runs_nothing(network: nn.Module, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    path = write_checkpoint(tmp_path / "best.ckpt", network, bomb=Bomb(victim))
    with pytest.raises(UserError, match=r"best\.ckpt safely"):
        load(path)
    assert not victim.exists()


def test_checkpoint_needs_configuration(network: nn.Module, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.ckpt", network)
    content = torch.load(path)
    del content[CONFIG_KEY]
    torch.save(content, path)
    with pytest.raises(UserError, match=r"best\.ckpt holds no configuration; expected"):
        load(path)


def test_checkpoint_without_weights_is_refused(network: nn.Module, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "best.ckpt", network, state_dict={})
    with pytest.raises(UserError, match=r"best\.ckpt does not fit LightWeightRefineNet:\n.*missing"):
        load(path)


def test_nothing_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file or folder .*none; expected a run folder"):
        load(tmp_path / "none")


def test_other_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds nothing; expected a run folder"):
        load(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"holds notes\.txt; expected a run folder"):
        load(tmp_path)


def test_run_without_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(UserError, match=r"run folder without a checkpoint; expected .*best\.ckpt or .*last\.ckpt"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["photo.pth", "photo.safetensors", "photo.ckpt", "photo"])
def test_other_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(UserError, match=f"{tmp_path / name} safely"):
        load(tmp_path / name)
