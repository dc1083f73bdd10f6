"""Bad checkpoints, weights folders and run folders: every command that reads one names the file and what is wrong."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import run_settings, small_network, write_checkpoint
from helpers.commands import fit_options, only_run, refinenet
from helpers.faults import BadInput, check
from helpers.unsafe import Bomb

from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.runs import RunFolder
from refinenet_pl.weights import write_weights_folder
from refinenet_pl.weights.checkpoint import CONFIG_KEY

RUN = RunFolder(Path("run"))
BEST, LAST = RUN.best_checkpoint, RUN.last_checkpoint
CONTINUE = f"fit --ckpt_path={LAST}"
FINE_TUNE = "fit {fit} --model.weights="
EVALUATE = f"validate --ckpt_path={BEST} {{cpu}}"
PREDICT = "predict --images=photo.png {cpu} --ckpt_path="
COMPARE = "compare run run"
WHY = "why run run"
CPU = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
PREPROCESSING = Preprocessing([0.5] * 3, [0.2] * 3, ["a", "b", "c"], [[0, 0, 0], [9, 9, 9], [99, 99, 99]])


STEP = {"finding": "loss", "batches": [], "random_states": [], "precision": "32-true", "scaler": {}, "device": "cpu"}
"""What a replay file holds beside its configuration and weights."""


def cut(path: Path, share: float = 0.5) -> Callable[[Path], object]:
    """Keep the first part of a file."""

    def prepare(folder: Path) -> None:
        content = (folder / path).read_bytes()
        (folder / path).write_bytes(content[: int(share * len(content))])

    return prepare


def write(path: Path, content: str | bytes) -> Callable[[Path], object]:
    """Replace a file."""
    return lambda folder: (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())


def remove(path: Path) -> Callable[[Path], object]:
    return lambda folder: (folder / path).unlink()


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Change the content of a JSON file in place."""

    def prepare(folder: Path) -> None:
        content = json.loads((folder / path).read_text())
        change(content)
        (folder / path).write_text(json.dumps(content))

    return prepare


def change_checkpoint(path: Path, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Change the content of a checkpoint in place."""

    def prepare(folder: Path) -> None:
        content = torch.load(folder / path, weights_only=True)
        change(content)
        torch.save(content, folder / path)

    return prepare


def unfinished(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Change the last checkpoint of a run that has no results yet, so that it can be continued."""

    def prepare(folder: Path) -> None:
        (folder / RUN.results).unlink()
        change_checkpoint(LAST, change)(folder)

    return prepare


def save(path: str, content: Any) -> Callable[[Path], object]:
    return lambda folder: torch.save(content, folder / path)


def dump(path: str, content: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_bytes(pickle.dumps(content))


def small_checkpoint(**content: Any) -> Callable[[Path], object]:
    return lambda folder: write_checkpoint(folder / "a.ckpt", small_network(), **content)


def matrices(**arrays: Any) -> Callable[[Path], object]:
    """Replace the confusion matrices of the run."""
    return lambda folder: np.savez(folder / RUN.per_image, **arrays)


def lying_header(size: int, header: bytes) -> bytes:
    """A safetensors file that states the size of its header."""
    return size.to_bytes(8, "little") + header


ROWS_OF_FILES = [
    BadInput("no file", "validate --ckpt_path=nope.ckpt", ("--ckpt_path: no file nope.ckpt",)),
    BadInput("file without bytes", EVALUATE, ("best.ckpt", "cut short"), prepare=write(BEST, b"")),
    BadInput("file cut short", EVALUATE, ("best.ckpt", "cut short"), prepare=cut(BEST)),
    BadInput("text", f"{PREDICT}a.ckpt", ("a.ckpt", "cannot read"), files={"a.ckpt": "https://example.org/a.ckpt"}),
    BadInput(
        "zip of something else",
        f"{PREDICT}a.ckpt",
        ("cannot read a.ckpt safely", "undamaged checkpoint"),
        prepare=lambda folder: zipfile.ZipFile(folder / "a.ckpt", "w").close(),
    ),
    BadInput(
        "pickle that runs code",
        f"{PREDICT}a.ckpt",
        ("cannot read a.ckpt safely", "only tensors"),
        prepare=lambda folder: save("a.ckpt", {"state_dict": Bomb(folder / "victim")})(folder),
    ),
    BadInput(
        "plain pickle",
        "weights export a.ckpt",
        ("cannot read a.ckpt safely",),
        prepare=dump("a.ckpt", {"state_dict": {}, "epoch": 3}),
    ),
    BadInput(
        "list of tensors",
        "weights export a.ckpt",
        ("a.ckpt holds no configuration", "refinenet fit"),
        prepare=save("a.ckpt", [torch.zeros(1)]),
    ),
    BadInput(
        "state dict alone",
        f"{PREDICT}a.ckpt",
        ("a.ckpt holds no configuration", "--config"),
        prepare=save("a.ckpt", {"conv.weight": torch.zeros(1)}),
    ),
    BadInput(
        "configuration that is no text",
        f"{PREDICT}a.ckpt",
        ("configuration in a.ckpt is list", "YAML text"),
        prepare=small_checkpoint(**{CONFIG_KEY: [1]}),
    ),
    BadInput(
        "configuration of one word",
        "weights export a.ckpt",
        ("configuration in a.ckpt is str", "mapping"),
        prepare=small_checkpoint(config="network"),
    ),
    BadInput(
        "configuration without a network",
        "weights export a.ckpt",
        ("a.ckpt: its configuration is incomplete", "model.network"),
        prepare=small_checkpoint(config="model: {preprocessing: {}}"),
    ),
    BadInput(
        "configuration without data",
        "weights export a.ckpt",
        ("a.ckpt: its configuration or the results of its run are incomplete", "'data'"),
        prepare=small_checkpoint(config={key: value for key, value in run_settings().items() if key != "data"}),
    ),
    BadInput(
        "unknown network",
        "weights export a.ckpt",
        ("a.ckpt", "Nope"),
        prepare=small_checkpoint(config=run_settings(network={"class_path": "refinenet_pl.networks.Nope"})),
    ),
    BadInput(
        "argument that the network lacks",
        "weights export a.ckpt",
        ("a.ckpt", "palette"),
        prepare=small_checkpoint(
            config=run_settings(
                network={"class_path": "refinenet_pl.networks.LightWeightRefineNet", "init_args": {"palette": 1}}
            )
        ),
    ),
    BadInput(
        "another number of classes",
        "weights export a.ckpt",
        ("a.ckpt does not fit", "of another shape", "segmentation_head"),
        prepare=lambda folder: write_checkpoint(
            folder / "a.ckpt",
            small_network(),
            run_settings(
                network={
                    "class_path": "refinenet_pl.networks.LightWeightRefineNet",
                    "init_args": run_settings()["model"]["network"]["init_args"] | {"classes": 5},
                }
            ),
        ),
    ),
    BadInput(
        "weights of another network",
        f"{PREDICT}a.ckpt",
        ("the checkpoint does not fit the configured network", "Missing key"),
        prepare=small_checkpoint(state_dict={"network.conv.weight": torch.zeros(1)}),
    ),
    BadInput(
        "weights that are text",
        f"{PREDICT}a.ckpt",
        ("a.ckpt: its weights are str", "tensors by name"),
        prepare=small_checkpoint(state_dict="weights"),
    ),
    BadInput(
        "epoch that is a word",
        "weights export a.ckpt",
        ("a.ckpt", "incomplete"),
        prepare=small_checkpoint(epoch="three"),
    ),
    BadInput(
        "preprocessing with an unknown key",
        "weights export a.ckpt",
        ("a.ckpt: preprocessing has unknown keys: gamma",),
        prepare=small_checkpoint(config=run_settings(preprocessing={"gamma": 2})),
    ),
    BadInput("folder of a stranger", "weights export run/pictures", ("no file run/pictures",)),
    BadInput(
        "run without checkpoints", "validate --ckpt_path=run {cpu}", ("no file", "best.ckpt"), prepare=remove(BEST)
    ),
    BadInput(
        "output that is in use", f"weights export {BEST} --output=run", ("run exists and is not empty", "--output")
    ),
    BadInput(
        "data of another number of classes",
        f"validate --ckpt_path={BEST} --data=VOCDataModule --data.root=. {{cpu}}",
        ("11 classes", "VOCDataModule has 21 classes"),
    ),
]

ROWS_OF_CONTINUATIONS = [
    BadInput("continuation of a file cut short", CONTINUE, ("last.ckpt", "cut short"), prepare=cut(LAST)),
    BadInput(
        "weights folder to continue", "fit --ckpt_path=weights", ("holds weights only", "--model.weights=weights")
    ),
    BadInput(
        "checkpoint of another program",
        "fit {fit} --ckpt_path=a.ckpt",
        ("a.ckpt",),
        prepare=save("a.ckpt", {"epoch": 1, "global_step": 2, "state_dict": {}}),
    ),
    BadInput(
        "no optimizer",
        f"{CONTINUE} --trainer.max_epochs=3 {{cpu}}",
        ("last.ckpt cannot be continued (it has no optimizer_states)", "--model.weights"),
        prepare=unfinished(lambda content: content.pop("optimizer_states")),
    ),
    BadInput(
        "no loops",
        f"{CONTINUE} --trainer.max_epochs=3 {{cpu}}",
        ("last.ckpt cannot be continued (it has no loops)",),
        prepare=unfinished(lambda content: content.pop("loops")),
    ),
    BadInput(
        "loops of another shape",
        f"{CONTINUE} --trainer.max_epochs=3 {{cpu}}",
        ("last.ckpt cannot be continued", "its counters are incomplete"),
        prepare=unfinished(lambda content: content.update(loops={"fit_loop": 3})),
    ),
    BadInput(
        "step that is a word",
        f"{CONTINUE} --trainer.max_epochs=3 {{cpu}}",
        ("last.ckpt cannot be continued", "'many'"),
        prepare=unfinished(lambda content: content.update(global_step="many")),
    ),
    BadInput("history that is no JSON", CONTINUE, ("history.json", "as JSON"), prepare=write(RUN.history, "{")),
    BadInput(
        "history without an id",
        CONTINUE,
        ("history.json: expected str at the key 'id'; found none", "--experiment"),
        prepare=change_json(RUN.history, lambda content: content.pop("id")),
    ),
    BadInput(
        "history without parts",
        f"{CONTINUE} --trainer.max_epochs=3 {{cpu}}",
        ("history.json: expected list at the key 'parts'; found int",),
        prepare=change_json(RUN.history, lambda content: content.update(parts=3)),
    ),
    BadInput(
        "other training",
        f"{CONTINUE} --model.network.decoder_channels=[9,8,8,8]",
        ("from another training", "decoder_channels", "--model.weights"),
    ),
    BadInput("pretrained weights that do not exist", "fit {fit} --model.encoder_weights=nope.pth", ("nope.pth",)),
    BadInput(
        "pretrained weights of another network",
        "fit {fit} --model.encoder_weights=a.pth",
        ("a.pth",),
        prepare=save("a.pth", {"conv.weight": torch.zeros(1)}),
    ),
    BadInput(
        "pretrained weights that are text",
        "fit {fit} --model.encoder_weights=a.pth",
        ("a.pth", "safely"),
        files={"a.pth": "x"},
    ),
]

ROWS_OF_FINE_TUNING = [
    BadInput("no weights", f"{FINE_TUNE}nope", ("model.weights: no file nope",)),
    BadInput("folder without weights", f"{FINE_TUNE}run/pictures", ("run/pictures is neither a run folder",)),
    BadInput(
        "unknown layout",
        f"{FINE_TUNE}a.pth",
        ("a.pth has no known layout", "conv.weight"),
        prepare=save("a.pth", {"conv.weight": torch.zeros(1)}),
    ),
    BadInput(
        "values that are not stored",
        f"{FINE_TUNE}a.pth",
        ("a.pth states more values than it holds",),
        prepare=save("a.pth", {"clf_conv.weight": torch.zeros(1).expand(10**7, 256)}),
    ),
    BadInput(
        "no tensor that fits",
        f"{FINE_TUNE}a.ckpt",
        ("no tensor of a.ckpt fits LightWeightRefineNet", "other.weight"),
        prepare=small_checkpoint(state_dict={"network.other.weight": torch.zeros(1)}),
    ),
    BadInput(
        "names that are numbers",
        f"{FINE_TUNE}a.ckpt",
        ("a.ckpt: cannot use its preprocessing", "class_names 3", "a list of names"),
        prepare=small_checkpoint(config=run_settings(preprocessing={"class_names": 3})),
    ),
]

ROWS_OF_FOLDERS = [
    BadInput(
        "no config.json",
        f"{PREDICT}weights",
        ("weights/config.json", "refinenet weights"),
        prepare=remove(Path("weights/config.json")),
    ),
    BadInput(
        "config.json cut short",
        f"{PREDICT}weights",
        ("weights/config.json: cannot read it as JSON",),
        prepare=cut(Path("weights/config.json")),
    ),
    BadInput(
        "config.json in another encoding",
        f"{PREDICT}weights",
        ("weights/config.json", "as JSON"),
        prepare=write(Path("weights/config.json"), '{"ä": 1}'.encode("latin-1")),
    ),
    BadInput(
        "config.json without a class",
        f"{PREDICT}weights",
        ("weights/config.json", "None"),
        prepare=write(Path("weights/config.json"), "{}"),
    ),
    BadInput(
        "config.json of another size",
        f"{PREDICT}weights",
        ("does not fit", "of another shape"),
        prepare=change_json(Path("weights/config.json"), lambda content: content.update(classes=7)),
    ),
    BadInput(
        "no weights in the folder",
        f"{PREDICT}weights",
        ("no file weights/model.safetensors",),
        prepare=remove(Path("weights/model.safetensors")),
    ),
    BadInput(
        "header larger than the file",
        f"{PREDICT}weights",
        ("cannot read weights/model.safetensors safely",),
        prepare=write(Path("weights/model.safetensors"), lying_header(2**40, b"{}")),
    ),
    BadInput(
        "tensor larger than the file",
        f"{PREDICT}weights",
        ("cannot read weights/model.safetensors safely",),
        prepare=write(
            Path("weights/model.safetensors"),
            lying_header(65, b'{"a":{"dtype":"F32","shape":[99,99],"data_offsets":[0,39204]}}   '),
        ),
    ),
    BadInput(
        "preprocessing with a word",
        f"{PREDICT}weights",
        ("weights/preprocessing.json", "mean 'gray'", "3 numbers"),
        prepare=change_json(Path("weights/preprocessing.json"), lambda content: content.update(mean="gray")),
    ),
    BadInput(
        "published file for a dataset of other classes",
        "weights convert a.pth --dataset=voc",
        ("a.pth",),
        prepare=save("a.pth", {"segm.weight": torch.zeros(3, 256, 3, 3)}),
    ),
]

ROWS_OF_RESULTS = [
    BadInput("no matrices", COMPARE, ("run/per_image.npz: no such file", "validate"), prepare=remove(RUN.per_image)),
    BadInput(
        "matrices that are text",
        COMPARE,
        ("run/per_image.npz", "Evaluate the run again"),
        prepare=write(RUN.per_image, "x"),
    ),
    BadInput("matrices with other keys", COMPARE, ("run/per_image.npz", "class_names"), prepare=matrices(a=[1])),
    BadInput(
        "matrices of objects",
        COMPARE,
        ("run/per_image.npz", "Evaluate the run again"),
        prepare=matrices(class_names=np.array([None], object), names=["a"]),
    ),
    BadInput(
        "index without a name",
        COMPARE,
        ("run/per_image.npz", "without a name"),
        prepare=matrices(class_names=["a"], names=["b"], image=[0], true=[5], predicted=[0], pixels=[1]),
    ),
    BadInput(
        "columns of different lengths",
        COMPARE,
        ("run/per_image.npz", "Evaluate the run again"),
        prepare=matrices(class_names=["a"], names=["b"], image=[0, 0], true=[0], predicted=[0], pixels=[1]),
    ),
    BadInput(
        "runs of different classes",
        "compare run other.npz",
        ("run A has the classes", "same classes"),
        prepare=lambda folder: np.savez(
            folder / "other.npz", class_names=["a"], names=["b"], image=[0], true=[0], predicted=[0], pixels=[1]
        ),
    ),
    BadInput("level in percent", f"{COMPARE} --level=95", ("level", "95")),
    BadInput("no manifest", WHY, ("run/manifest.json", "train the run again"), prepare=remove(RUN.manifest)),
    BadInput(
        "manifest of another program",
        WHY,
        ("run/manifest.json: expected dict at the key 'code'; found none", "train the run again"),
        prepare=write(RUN.manifest, "{}"),
    ),
    BadInput("manifest with a list", WHY, ("run/manifest.json: holds list",), prepare=write(RUN.manifest, "[]")),
    BadInput(
        "first steps without steps",
        WHY,
        ("run/first_steps.json: expected list at the key 'steps'",),
        prepare=change_json(RUN.first_steps, lambda content: content.pop("steps")),
    ),
    BadInput(
        "first steps of another shape",
        WHY,
        ("run and run", "first_steps.json is incomplete", "train the run again"),
        prepare=change_json(RUN.first_steps, lambda content: content.update(steps=[1, 2])),
    ),
    BadInput("replay of nothing", "replay nope.pt", ("nope.pt",)),
    BadInput("replay of a checkpoint", f"replay {BEST}", ("best.ckpt: holds no training step",)),
    BadInput(
        "replay of a list",
        "replay a.ckpt",
        ("a.ckpt: its training step is incomplete", "finding, batches"),
        prepare=small_checkpoint(refinenet_replay=[1]),
    ),
    BadInput(
        "replay without batches",
        "replay a.ckpt",
        ("a.ckpt: its training step is incomplete (batches, random_states",),
        prepare=small_checkpoint(refinenet_replay=STEP | {"batches": None, "random_states": None}),
    ),
    BadInput(
        "replay without a network",
        "replay a.ckpt",
        ("a.ckpt: its configuration has no network",),
        prepare=small_checkpoint(config="model: {}", refinenet_replay=STEP),
    ),
    BadInput(
        "replay of another network",
        "replay a.ckpt",
        ("does not fit the configured network", "Missing key"),
        prepare=small_checkpoint(state_dict={}, refinenet_replay=STEP),
    ),
]

ROWS = [*ROWS_OF_FILES, *ROWS_OF_CONTINUATIONS, *ROWS_OF_FINE_TUNING, *ROWS_OF_FOLDERS, *ROWS_OF_RESULTS]


NETWORK = "--model.network.decoder_channels=[8,8,8,8]"


@pytest.fixture(scope="module")
def folders(fake_camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of a training of one epoch, a weights folder, and a photo."""
    folder = tmp_path_factory.mktemp("folders")
    write_weights_folder(folder / "weights", small_network(), PREPROCESSING, "# Card\n")
    shutil.copyfile(fake_camvid / "val" / "val_0.png", folder / "photo.png")
    options = [*fit_options(fake_camvid, folder / "runs"), NETWORK, "--trainer.max_epochs=1"]
    with pytest.MonkeyPatch.context() as patch:
        assert refinenet(patch, "fit", *options) == 0
    only_run(folder / "runs").rename(folder / "run")
    shutil.rmtree(folder / "runs")
    return folder


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_bad_weights(row, folders, fake_camvid, tmp_path, monkeypatch, capsys):
    shutil.copytree(folders, tmp_path, dirs_exist_ok=True)
    stand_ins = {"{fit}": [*fit_options(fake_camvid, Path("runs")), NETWORK, "--trainer.max_epochs=1"], "{cpu}": CPU}
    check(row, stand_ins, tmp_path, monkeypatch, capsys)
