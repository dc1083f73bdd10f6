"""Nothing in a file runs code: every command that reads a checkpoint, a weights folder or a run folder."""

import json
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.checkpoints import run_settings, small_network, write_checkpoint
from helpers.commands import TINY_TRAINER, refinenet
from helpers.unsafe import NETWORK_MODULE, TOUCH, touch
from PIL import Image

import refinenet_pl
from refinenet_pl.errors import UserError
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.weights import write_weights_folder
from refinenet_pl.weights.trust import check_config

PREPROCESSING = Preprocessing([0.5] * 3, [0.2] * 3, ["a", "b", "c"], [[0, 0, 0], [9, 9, 9], [99, 99, 99]])


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return small_network()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image to predict."""
    Image.new("RGB", (64, 48)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def settings(key: str, value: Any) -> dict[str, Any]:
    """A run's configuration with the value at a dotted key."""
    config = deepcopy(run_settings())
    *sections, last = key.split(".")
    section = config
    for name in sections:
        section = section.setdefault(name, {})
    section[last] = value
    return config


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("predict", "model.network"),
        ("predict", "model.network.init_args.aux_params"),
        ("predict", "model.loss"),
        ("predict", "model.schedule"),
        ("predict", "model.optimizer"),
        ("validate", "data"),
        ("validate", "model.network.init_args.activation"),
        ("test", "data.init_args.root"),
        ("fit", "trainer.callbacks"),
        ("fit", "trainer.logger"),
        ("fit", "trainer.plugins"),
    ],
)
def test_checkpoint_cannot_run_code(
    command: str, key: str, network: torch.nn.Module, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    victim = photo.with_name("victim")
    monkeypatch.chdir(photo.parent)
    spec = touch(victim)
    value = {"pooling": spec} if key.endswith("aux_params") else [spec] if key.endswith("callbacks") else spec
    checkpoint = write_checkpoint(photo.with_name("a.ckpt"), network, settings(key, value))
    images = ["--images", photo, "--output", photo.with_name("out")] if command == "predict" else []
    before = sorted(photo.parent.iterdir())
    assert refinenet(monkeypatch, command, "--ckpt_path", checkpoint, *images) == 2
    message = capsys.readouterr().err
    assert TOUCH in message
    assert "--trust" in message
    assert sorted(photo.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.network", "{class_path: subprocess.Popen, init_args: {args: [touch, victim]}}"),
        ("model.network", "network.yaml"),
        ("model.network.init_args.aux_params", {"pooling": "{class_path: subprocess.Popen}"}),
        ("model.network.init_args.aux_params", {"pooling": '{"cl\\u0061ss_path": "subprocess.Popen"}'}),
        ("model.network.init_args.activation", "antigravity.geohash"),
        ("model.network.init_args.encoder_name", "tu-local-dir:stranger"),
        ("model.network.init_args.checkpoint_path", "stranger.pth"),
        ("model.loss", {"class_path": "torch.hub.load", "init_args": {"repo_or_dir": "stranger/code"}}),
        ("model.loss", {"class_path": "refinenet_pl.training.losses.torch.hub.load"}),
        ("model.network", {"class_path": "refinenet_pl.__main__.RefineNet"}),
        ("model", "stranger"),
        ("model.inference", {"scales.class_path": "subprocess.Popen"}),
        ("experiment", "../elsewhere"),
        ("experiment", "/elsewhere"),
    ],
)
def test_hidden_class_or_file_is_refused(
    key: str, value: Any, network: torch.nn.Module, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(photo.parent)
    checkpoint = write_checkpoint(photo.with_name("a.ckpt"), network, settings(key, value))
    assert refinenet(monkeypatch, "predict", "--ckpt_path", checkpoint, "--images", photo) == 2
    assert "a.ckpt" in capsys.readouterr().err
    assert {path.name for path in photo.parent.iterdir()} == {"a.ckpt", "photo.png"}


def test_output_and_images_are_the_command_line_s(
    network: torch.nn.Module, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_settings() | {"output": "stolen", "images": ["/"], "runs": "stolen", "ckpt_path": "x", "config": "y"}
    checkpoint = write_checkpoint(photo.with_name("a.ckpt"), network, config)
    monkeypatch.chdir(photo.parent)
    options = ["--images", photo, "--num_workers=0", *TINY_TRAINER[:2]]
    assert refinenet(monkeypatch, "predict", "--ckpt_path", checkpoint, *options) == 0
    assert (photo.parent / "predictions" / "masks" / "photo.png").is_file()
    assert not (photo.parent / "stolen").exists()


def test_hyper_parameters_are_ignored(
    network: torch.nn.Module, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """LightningCLI would obey them beside the user's own configuration."""
    victim = photo.with_name("victim")
    hidden = {"network": touch(victim)}
    checkpoint = write_checkpoint(photo.with_name("a.ckpt"), network, hyper_parameters=hidden)
    config = photo.with_name("own.yaml")
    config.write_text(yaml.safe_dump({"model": run_settings()["model"]}))
    monkeypatch.chdir(photo.parent)
    options = ["--images", photo, "--num_workers=0", *TINY_TRAINER[:2]]
    assert refinenet(monkeypatch, "predict", "--config", config, "--ckpt_path", checkpoint, *options) == 0
    assert (photo.parent / "predictions" / "masks" / "photo.png").is_file()
    config.write_text(yaml.safe_dump({"model": run_settings()["model"], "ckpt_path": str(checkpoint)}))
    assert refinenet(monkeypatch, "predict", "--config", config, *options) == 2
    assert f"--ckpt_path={checkpoint}" in capsys.readouterr().err
    assert not victim.exists()


@pytest.mark.parametrize("name", ["subprocess.Popen", "torch.nn.Identity"])
def test_weights_folder_cannot_run_code(name: str, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write_weights_folder(photo.with_name("weights"), small_network(), PREPROCESSING, "# Card\n")
    file = photo.parent / "weights" / "config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"_model_class": name}))
    assert refinenet(monkeypatch, "predict", "--ckpt_path", file.parent, "--images", photo) == 2
    assert name in capsys.readouterr().err
    victim = photo.with_name("victim")
    file.write_text(json.dumps(content | {"aux_params": {"pooling": touch(victim)}}))
    assert refinenet(monkeypatch, "predict", "--ckpt_path", file.parent, "--images", photo) == 2
    assert TOUCH in capsys.readouterr().err
    with pytest.raises(UserError, match=r"subprocess\.Popen"):
        refinenet_pl.load(file.parent)
    assert not victim.exists()


@pytest.fixture
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a network class in a module that creates the file `imported` when it is imported."""
    name = f"own_{time.time_ns()}"  # Python imports a module once per process
    (tmp_path / f"{name}.py").write_text(NETWORK_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return f"{name}.Network"


Words = Callable[[str], list[str]]


@pytest.mark.parametrize(
    "words", [lambda _: ["--trust"], lambda name: ["--trust", name], lambda name: [f"--model.network={name}"]]
)
def test_own_network_needs_a_word(
    words: Words, own_network: str, network: torch.nn.Module, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(photo.parent)
    arguments = run_settings()["model"]["network"]["init_args"]
    config = settings("model.network", {"class_path": own_network, "init_args": arguments})
    checkpoint = write_checkpoint(photo.with_name("a.ckpt"), network, config)
    command = ["predict", "--ckpt_path", checkpoint, "--images", photo, "--num_workers=0", *TINY_TRAINER[:2]]
    assert refinenet(monkeypatch, *command) == 2
    assert f"model.network is {own_network}" in capsys.readouterr().err
    assert not photo.with_name("imported").exists()
    assert refinenet(monkeypatch, *command, *words(own_network)) == 0
    assert photo.with_name("imported").exists()
    assert (photo.parent / "predictions" / "masks" / "photo.png").is_file()


@pytest.mark.parametrize("trust", [False, True])
def test_export_imports_only_known_data(
    trust: bool, own_network: str, network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings("data.class_path", own_network)
    checkpoint = write_checkpoint(tmp_path / "a.ckpt", network, config)
    options = ["--output", tmp_path / "weights", *(["--trust"] if trust else [])]
    assert refinenet(monkeypatch, "weights", "export", checkpoint, *options) == 0
    assert (tmp_path / "imported").exists() == trust
    assert (own_network in (tmp_path / "weights" / "README.md").read_text()) != trust


@pytest.mark.parametrize("experiment", ["../elsewhere", "/elsewhere"])
def test_export_stays_in_its_folder(
    experiment: str, network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    checkpoint = write_checkpoint(tmp_path / "a.ckpt", network, run_settings() | {"experiment": experiment})
    assert refinenet(monkeypatch, "weights", "export", checkpoint) == 2
    assert "--output" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"a.ckpt", "here"}


def test_saved_configurations_pass(trained_run: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--images", photo, "--num_workers=0", "--output", photo.with_name("out"), *TINY_TRAINER[:2]]
    assert refinenet(monkeypatch, "predict", "--ckpt_path", trained_run, *options) == 0


def test_weights_of_a_false_size_are_refused(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(10**7, 256, 3, 3)  # 92 GB in a file of some kilobytes
    torch.save({"clf_conv.weight": huge, "layer3.5.conv1.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth states more values than it holds: clf_conv\.weight"):
        refinenet_pl.load(tmp_path / "a.pth")


@pytest.mark.parametrize("state", [None, [1], {1: 2}, {"network.decoder": "text"}])
def test_checkpoint_without_weights_is_refused(state: Any, network: torch.nn.Module, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "a.ckpt", network, state_dict=state)
    with pytest.raises(UserError, match=r"a\.ckpt does not fit"):
        refinenet_pl.load(checkpoint)


def callback(name: str, **arguments: Any) -> dict[str, Any]:
    return {"trainer": {"callbacks": [{"class_path": f"pytorch_lightning.callbacks.{name}", "init_args": arguments}]}}


def logger(kind: str, /, **arguments: Any) -> dict[str, Any]:
    return {"trainer": {"logger": {"class_path": f"pytorch_lightning.loggers.{kind}", "init_args": arguments}}}


def wandb(**arguments: Any) -> dict[str, Any]:
    return logger("WandbLogger", **arguments)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (callback("ModelCheckpoint", dirpath="/elsewhere"), "dirpath"),
        (callback("ModelCheckpoint", filename="../{epoch}"), "filename"),
        (callback("LambdaCallback", on_fit_start="os.abort"), "callbacks"),
        (callback("ThroughputMonitor", batch_size_fn="os.abort"), "callbacks"),
        (wandb(entity="stranger"), "entity"),
        (wandb(settings={"base_url": "http://stranger"}), "settings"),
        (wandb(config={"a": touch(Path("victim"))}), "config.a"),
        (logger("CSVLogger", save_dir="/"), "save_dir"),
        (logger("TensorBoardLogger", save_dir="", sub_dir="../elsewhere"), "sub_dir"),
        ({"trainer": {"profiler": touch(Path("victim"))}}, "profiler"),
        ({"trainer": {"strategy": "stranger.Strategy"}}, "strategy"),
    ],
)  # fmt: skip
def test_callbacks_write_to_the_run_only(config: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=rf"a\.ckpt: .*{key} is "):
        check_config(config, "a.ckpt")


@pytest.mark.parametrize(
    "config",
    [
        callback("ModelCheckpoint", dirpath=None, filename="{epoch}-{val/miou:.4f}", monitor="val/miou", save_top_k=2),
        callback("EarlyStopping", monitor="train/loss", patience=3),
        wandb(project="my project.v2", save_dir="/runs/a", name="a/b", config={"levels": {"pooling": "none"}}),
        logger("TensorBoardLogger", save_dir="", name="lightning_logs", version=None, prefix="", sub_dir=None),
        {"trainer": {"accelerator": "gpu", "devices": "0,1", "strategy": "ddp_find_unused_parameters_true"}},
        {"trainer": {"precision": "bf16-mixed", "max_time": "00:12:00:00", "gradient_clip_val": 1e-3}},
        {"model": {"encoder_weights": "/weights/resnet.v1.pth", "preprocessing": {"class_names": ["a.b", "/c"]}}},
        {"data": {"class_path": "refinenet_pl.data.VOCDataModule", "init_args": {"root": "/d/voc.v2", "flip": True}}},
        {"model": {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"betas": [0.9, 0.99]}}}},
    ],
)
def test_usual_settings_pass(config: dict[str, Any]) -> None:
    check_config(config, "a.ckpt")


SELF = "a: &a [*a]\n"
NESTED = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP = "a: " + "[" * 3000
PYTHON = "a: !!python/object/apply:os.system ['true']\n"


@pytest.mark.parametrize(
    ("text", "words"), [(SELF, "itself"), (NESTED, "repeat"), (DEEP, "deep"), (PYTHON, "python/object")]
)
def test_endless_yaml_is_refused(
    text: str, words: str, network: torch.nn.Module, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    checkpoint = write_checkpoint(photo.with_name("a.ckpt"), network, text)
    file = photo.with_name("a.yaml")
    file.write_text(text)
    for command in (
        ["predict", "--ckpt_path", checkpoint, "--images", photo],
        ["weights", "export", checkpoint],
        ["fit", "--config", file],
        ["benchmark", "infer", "--config", file],
        ["class-weights", "--config", file],
        ["study", "report", file],
    ):
        assert refinenet(monkeypatch, *command) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(UserError, match=words):
        refinenet_pl.load(checkpoint)
