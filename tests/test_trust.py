"""The check of a file's configuration, and the commands that read one without --ckpt_path."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from helpers.checkpoints import run_settings, small_network, write_checkpoint
from helpers.commands import fit_options, refinenet
from helpers.unsafe import NETWORK_MODULE, TOUCH, touch

from refinenet_pl.class_paths import class_paths
from refinenet_pl.cli.continuation import Start
from refinenet_pl.cli.run_recorder import RunRecorder
from refinenet_pl.errors import UserError
from refinenet_pl.files import YAML_BYTES, YAML_DEPTH, parse_yaml, read_json, read_yaml
from refinenet_pl.runs import RunFolder
from refinenet_pl.studies.commands import trust_options
from refinenet_pl.training.replay import REPLAY_KEY
from refinenet_pl.weights.trust import check_config


def test_replay_file_cannot_run_code(tmp_path, monkeypatch, capsys):
    step = {"finding": "the loss is nan", "batches": [], "random_states": [], "precision": "32-true", "scaler": {}}
    config = run_settings(loss=touch(tmp_path / "victim"))
    path = write_checkpoint(tmp_path / "replay.pt", small_network(), config, **{REPLAY_KEY: step | {"device": "cpu"}})
    assert refinenet(monkeypatch, "replay", path) == 2
    message = capsys.readouterr().err
    assert f"model.loss is {TOUCH}" in message
    assert "--trust" in message
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("predict", "model.loss"),
        ("predict", "model.optimizer"),
        ("validate", "model.schedule"),
        ("validate", "data"),
        ("fit", "trainer.callbacks"),
        ("fit", "trainer.logger"),
        ("fit", "trainer.strategy"),
    ],
)
def test_trusted_file_runs_its_code(command, key, tmp_path, monkeypatch, capsys):
    """The payload works in each place. With --trust, it runs before its type is refused."""
    module = f"own_{time.time_ns()}"  # Python imports a module once per process
    (tmp_path / f"{module}.py").write_text(NETWORK_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    spec = {"class_path": f"{module}.Payload"}
    config = run_settings()
    section, _, name = key.partition(".")
    if name:
        config[section][name] = [spec] if name == "callbacks" else spec
    else:
        config[section] = spec
    path = write_checkpoint(tmp_path / "a.ckpt", small_network(), config)
    words = [command, "--ckpt_path", path]
    assert refinenet(monkeypatch, *words) == 2
    assert f"{key} is {module}.Payload" in capsys.readouterr().err
    assert not (tmp_path / "imported").exists()
    assert refinenet(monkeypatch, *words, "--trust") == 2
    assert (tmp_path / "imported").exists()


def test_fine_tuning_takes_weights_only(fake_camvid, tmp_path, monkeypatch):
    config = run_settings(loss=touch(tmp_path / "victim"))
    config |= {"data": touch(tmp_path / "victim"), "trainer": {"callbacks": [touch(tmp_path / "victim")]}}
    path = write_checkpoint(tmp_path / "a.ckpt", small_network(), config)
    options = [*fit_options(fake_camvid, tmp_path / "runs"), f"--model.weights={path}", "--trainer.fast_dev_run=1"]
    assert refinenet(monkeypatch, "fit", *options) == 0
    assert not (tmp_path / "victim").exists()


def test_own_configuration_replaces_the_file_s(fake_camvid, tmp_path, monkeypatch):
    config = run_settings(loss=touch(tmp_path / "victim"))
    path = write_checkpoint(tmp_path / "a.ckpt", small_network(), config)
    own = tmp_path / "own.yaml"
    data = {"class_path": "CamVidDataModule", "init_args": {"root": str(fake_camvid), "num_workers": 0}}
    own.write_text(yaml.safe_dump({"model": run_settings()["model"], "data": data}))
    assert refinenet(monkeypatch, "fit", "--config", own, "--ckpt_path", path, f"--runs={tmp_path / 'runs'}") == 2
    assert not (tmp_path / "victim").exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"dirpath": "/elsewhere"}, "trainer.callbacks.init_args.dirpath"),
        ({"filename": "../../elsewhere"}, "trainer.callbacks.init_args.filename"),
        ({"filename": "/elsewhere"}, "trainer.callbacks.init_args.filename"),
        ({"monitor": {"class_path": TOUCH}}, "trainer.callbacks.init_args.monitor"),
    ],
)
def test_callback_writes_to_its_run_only(changes, key):
    allowed = {"monitor": "val/miou", "filename": "{epoch}-{step}", "dirpath": None, "save_top_k": 3}
    callback = {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": allowed}
    check_config({"trainer": {"callbacks": [callback]}}, "a.ckpt")
    changed = callback | {"init_args": allowed | changes}
    with pytest.raises(UserError, match=rf"^a\.ckpt: .*{key} is "):
        check_config({"trainer": {"callbacks": [changed]}}, "a.ckpt")


@pytest.mark.parametrize(
    "class_path",
    [
        "LightWeightRefineNet.__init__",
        "refinenet_pl.networks.os.system",
        "refinenet_pl_stranger.RefineNet",
        "segmentation_models_pytorch.base.model.torch.hub.load",
        "x.refinenet_pl.networks.RefineNet",
        "refinenet_pl.networks.RefineNet\nx",
        "",
        None,
        ["refinenet_pl.networks.RefineNet"],
    ],
)
def test_similar_names_are_refused(class_path):
    with pytest.raises(UserError, match=r"a\.ckpt: .*model\.network is "):
        check_config({"model": {"network": {"class_path": class_path}}}, "a.ckpt")


OWN_DATA = {
    "root": "/data",
    "images": "photos/*_rgb.jpg",
    "train_list": "/lists/train.txt",
    "label_ids": {0: "back.ground", 255: "void", "#ff0000": None, "128,0,0": 1},
    "split_folders": {"val": "../valid"},
    "split": {"folds": 5, "fold": 0, "groups": r"^(\w+?)_[0-9]+"},
    "transforms": [
        {"class_path": "torchvision.transforms.v2.GaussianBlur", "init_args": {"kernel_size": 3, "sigma": [0.1, 2.0]}},
        {"class_path": "torchvision.transforms.v2.RandomRotation", "init_args": {"interpolation": "bilinear"}},
    ],
}


def own_data(**changes):
    return {"data": {"class_path": "refinenet_pl.data.FolderDataModule", "init_args": OWN_DATA | changes}}


@pytest.mark.parametrize("groups", [None, r"^\w+?_f?\d{3}", r"(?:drive|city)(\d+)_[a-z]*", "^[^_]+_[^_]+"])
def test_own_data_needs_no_trust(groups):
    check_config(own_data(split={"folds": 5, "fold": 0, "groups": groups}), "a.ckpt")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"transforms": [{"class_path": "torchvision.transforms.v2.Lambda", "init_args": {}}]}, "transforms"),
        ({"transforms": [{"class_path": "torchvision.transforms.v2.functional.os.system"}]}, "transforms"),
        ({"transforms": [{"class_path": "torchvision.transforms.v2.Compose"}]}, "transforms"),
        ({"transforms": [{"class_path": "refinenet_pl.data.FolderDataModule"}]}, "transforms"),
        ({"transforms": [{"class_path": "torchvision.transforms.v2.GaussianBlur", "init_args": {"a": TOUCH}}]}, "a"),
        ({"label_ids": {0: {"class_path": TOUCH}}}, "label_ids"),
        ({"label_ids": [TOUCH]}, "label_ids"),
        ({"crop_size": {"class_path": TOUCH}}, "crop_size"),
        ({"split": {"folds": 5, "groups": r"(a+)+$"}}, "split.groups"),
        ({"split": {"folds": 5, "groups": r".*.*.*.*x"}}, "split.groups"),
        ({"split": {"folds": 5, "groups": "a?" * 20 + "a" * 20}}, "split.groups"),
        ({"split": {"folds": 5, "groups": "a{0,9}" * 5}}, "split.groups"),
        ({"split": {"class_path": TOUCH}}, "split"),
    ],
)
def test_data_of_a_file_names_no_code(changes, key):
    with pytest.raises(UserError, match=rf"^a\.ckpt: .*data\.init_args\.\S*{key} is "):
        check_config(own_data(**changes), "a.ckpt")


def test_each_class_is_named():
    config = {"model": {"network": {"class_path": "a.A"}, "loss": {"class_path": "b.B"}}, "data": {"class_path": "c.C"}}
    with pytest.raises(UserError) as caught:
        check_config(config, "a.ckpt")
    for words in ("model.network is a.A", "model.loss is b.B", "data is c.C", "--trust", "--config"):
        assert words in str(caught.value)


def test_study_trusts_its_own_classes_only():
    model = {"network": {"class_path": "own.Net"}, "loss": "own.Loss"}  # short for a class without arguments
    cell: dict[str, Any] = {"model": model, "trainer": {"callbacks": [{"class_path": "own.Callback"}]}}
    cell["data"] = {"root": "/data/a.b", "batch_size": 2}
    assert class_paths(cell) == {"own.Net", "own.Callback", "own.Loss"}
    assert trust_options(class_paths(cell)) == ["--trust", "own.Callback", "own.Loss", "own.Net"]
    assert trust_options(class_paths({"model": {"loss": None}})) == []


def state_of_best(folder: Path, **paths: Any) -> dict[str, Any]:
    """Return the callbacks' states of a checkpoint, as Lightning saves them."""
    best = str(folder / "best.ckpt")
    state = {"dirpath": str(folder), "best_model_path": best, "best_k_models": {best: torch.tensor(0.5)}}
    return {"callbacks": {"ModelCheckpoint": state | {"kth_best_model_path": best, "last_model_path": ""} | paths}}


@pytest.mark.parametrize("file", ["{}/../../thesis.tex", "memory://thesis.tex"])
@pytest.mark.parametrize("key", ["best_k_models", "kth_best_model_path", "last_model_path"])
def test_checkpoint_cannot_name_files_to_delete(key, file, tmp_path):
    run = RunFolder(tmp_path)
    recorder = RunRecorder(Start(run, "id", run.last_checkpoint, new=False), {}, "")
    trainer, task = pl.Trainer(logger=False), pl.LightningModule()
    recorder.on_load_checkpoint(trainer, task, state_of_best(run.checkpoints))
    name = file.format(run.checkpoints)
    state = state_of_best(run.checkpoints, **{key: {name: 0.1} if key == "best_k_models" else name})
    with pytest.raises(UserError, match=r"names .*thesis"):
        recorder.on_load_checkpoint(trainer, task, state)


CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, YAML_DEPTH + 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * (YAML_DEPTH + 1) + "]" * (YAML_DEPTH + 1), "nested too deeply"),
        (CHAIN, "nested too deeply"),
        ("a: &a {b: *a}\n", "contains itself"),
        ("a: 2026-13-45\n", "month"),
        ("a: " + "9" * 5000, "digits"),
        ("a" * (YAML_BYTES + 1), "characters"),
    ],
    ids=["deep", "chain", "itself", "date", "number", "long"],
)
def test_yaml_is_bounded(text, words):
    with pytest.raises(UserError, match=f"^F: .*{words}"):
        parse_yaml(text, "F")


def test_references_are_read():
    text = "a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  y: 2\n"
    assert parse_yaml(text, "F") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
    assert parse_yaml("", "F") is None


def test_sizes_of_files_are_bounded(tmp_path):
    for name, size in (("a.yaml", YAML_BYTES + 1), ("a.json", 2**40)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # it takes no space
    with pytest.raises(UserError, match=r"a\.yaml has .* bytes"):
        read_yaml(tmp_path / "a.yaml", "F")
    with pytest.raises(UserError, match=r"a\.json: has .* bytes.*; evaluate again"):
        read_json(tmp_path / "a.json", "evaluate again")
    (tmp_path / "b.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested too deeply"):
        read_json(tmp_path / "b.json", "evaluate again")
    (tmp_path / "c.json").write_text(json.dumps({"a": 1}).replace("1", "9" * 5000))
    with pytest.raises(UserError, match="cannot read it as JSON"):
        read_json(tmp_path / "c.json", "evaluate again")
