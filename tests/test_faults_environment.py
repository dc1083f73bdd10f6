"""Bad surroundings: variables that are left over or odd, folders that cannot be used, outputs in the way of inputs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.checkpoints import small_network, write_checkpoint
from helpers.commands import fit_options
from helpers.fake_data import make_camvid
from helpers.fake_study import write_study
from helpers.faults import BadInput, check
from PIL import Image

PREDICT = "predict --ckpt_path=a.ckpt --num_workers=0 {cpu}"
WEIGHTS = "class-weights --method=inverse_log --data=CamVidDataModule --data.root=camvid"
COMPARE = "compare a.npz a.npz"
WANDB = "fit {fit} --trainer.logger=WandbLogger"
EXPERIMENT = "data: {class_path: CamVidDataModule, init_args: {root: camvid}}\n"
ONE_IMAGE: dict[str, Any] = {
    "class_names": ["a"],
    "names": ["b"],
    "image": [0],
    "true": [0],
    "predicted": [0],
    "pixels": [1],
}


def photos(*names: str) -> Callable[[Path], object]:
    """Write a checkpoint and photos."""

    def prepare(folder: Path) -> None:
        write_checkpoint(folder / "a.ckpt", small_network())
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 48)).save(folder / name)

    return prepare


def camvid(folder: Path) -> None:
    make_camvid(folder / "camvid", train=2, val=1, test=0)


def matrices(folder: Path) -> None:
    np.savez(folder / "a.npz", **ONE_IMAGE)


def removed_folder(folder: Path) -> None:
    """Be in a folder that somebody else has deleted."""
    (folder / "gone").mkdir()
    os.chdir(folder / "gone")
    (folder / "gone").rmdir()


VARIABLES = [
    BadInput("words for ranks", "fit {fit}", ("RANK is 'abc'", "unset RANK"), environment={"RANK": "abc"}),
    BadInput("empty rank", "fit {fit}", ("LOCAL_RANK is ''", "expected a number"), environment={"LOCAL_RANK": ""}),
    BadInput(
        "rank left over", "fit {fit} --data.root=nope", ("nope/train: no such folder",), environment={"RANK": "1"}
    ),
    BadInput(
        "words for SLURM's tasks",
        "fit {fit}",
        ("SLURM_NTASKS is 'abc'", "unset SLURM_NTASKS"),
        environment={"SLURM_NTASKS": "abc", "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train"},
    ),
    BadInput(
        "mode that W&B does not know",
        WANDB,
        ("WANDB_MODE: Input should be 'online'", "found sometimes", "unset it"),
        environment={"WANDB_MODE": "sometimes"},
    ),
    BadInput("project of W&B with a slash", WANDB, ("project", "'me/p'"), environment={"WANDB_PROJECT": "me/p"}),
    BadInput(
        "server of W&B that is no URL",
        WANDB,
        ("WANDB_BASE_URL: Input should be a valid URL", "found here"),
        environment={"WANDB_BASE_URL": "here"},
    ),
    BadInput(
        "cache that cannot be written",
        "class-weights --data=ScenesDataModule",
        ("/proc/nope",),
        environment={"XDG_CACHE_HOME": "/proc/nope"},
    ),
    BadInput(
        "home of nobody",
        "class-weights --data=CamVidDataModule --data.root=~nobody_here/camvid",
        ("data.root", "~nobody_here/camvid", "no such home"),
    ),
    BadInput(
        "no sbatch",
        "study run pooling_study.yaml --launcher=slurm --slurm timeout_min=5",
        ("sbatch",),
        prepare=write_study,
        environment={"PATH": "/nope"},
    ),
    BadInput(
        "folder that is gone",
        "fit --config nope.yaml",
        ("the current folder was deleted", "change to a folder"),
        prepare=removed_folder,
    ),
]

PLACES = [
    BadInput("runs that are a file", "fit {fit}", ("runs",), prepare=camvid, files={"runs": ""}),
    BadInput(
        "experiment above the runs",
        "fit {fit} --experiment=../x",
        ("experiment: found '../x'", "without /"),
        prepare=camvid,
    ),
    BadInput("folder as configuration", "fit --config camvid", ("camvid",), prepare=camvid),
    BadInput(
        "prediction in place of its image",
        f"{PREDICT} --images masks/photo.png --output=.",
        ("masks/photo.png: this input would be replaced", "another --output"),
        prepare=photos("masks/photo.png"),
    ),
    BadInput(
        "prediction in place of another image",
        f"{PREDICT} --images . --output=.",
        ("masks/a.png: this input would be replaced by the result of a.png", "another --output"),
        prepare=photos("a.png", "masks/a.png"),
    ),
    BadInput(
        "predictions over masks of another origin",
        f"{PREDICT} --images images --output=.",
        ("masks/a.png: this file exists, and there is no manifest.json", "another --output"),
        prepare=photos("images/a.png", "masks/a.png"),
    ),
    BadInput(
        "predictions in a folder with a damaged manifest",
        f"{PREDICT} --images a.png --output=out",
        ("out/manifest.json: cannot read it as JSON", "delete this folder"),
        prepare=photos("a.png"),
        files={"out/manifest.json": "{"},
    ),
    BadInput(
        "opacity beyond one",
        f"{PREDICT} --images a.png --opacity=2",
        ("opacity", "2"),
        prepare=photos("a.png"),
    ),
    BadInput(
        "video for a test server",
        f"{PREDICT} --images a.mp4 --submission=voc",
        ("a.mp4",),
        prepare=photos(),
        files={"a.mp4": "x"},
    ),
    BadInput(
        "images of one name",
        f"{PREDICT} --images a.png b/a.png",
        ("both results would be named 'a'", "Rename"),
        prepare=photos("a.png", "b/a.png"),
    ),
    BadInput(
        "predictions into a file",
        f"{PREDICT} --images a.png --output=a.ckpt",
        ("a.ckpt is a file", "another --output"),
        prepare=photos("a.png"),
    ),
    BadInput(
        "prediction with the name of a folder",
        f"{PREDICT} --images a.png --output=out",
        ("out/masks/a.png: is a folder",),
        prepare=photos("a.png", "out/masks/a.png/x.png"),
    ),
    BadInput(
        "predictions where nothing can be written",
        f"{PREDICT} --images a.png --output=/proc/nope",
        ("/proc/nope", "cannot write", "another --output"),
        prepare=photos("a.png"),
    ),
    BadInput(
        "submission of other classes",
        f"{PREDICT} --images a.png --submission=voc",
        ("predicts 3 classes", "the server expects 21 classes"),
        prepare=photos("a.png"),
    ),
    BadInput(
        "class weights in place of the experiment",
        f"{WEIGHTS} --config e.yaml --output=e.yaml",
        ("e.yaml: this input would be replaced",),
        prepare=camvid,
        files={"e.yaml": EXPERIMENT},
    ),
    BadInput(
        "class weights into a folder",
        f"{WEIGHTS} --output=camvid",
        ("camvid: is a folder", "another --output"),
        prepare=camvid,
    ),
    BadInput(
        "comparison in place of a run",
        f"{COMPARE} --output=a.npz",
        ("a.npz: this input would be replaced",),
        prepare=matrices,
    ),
    BadInput("comparison into a folder", f"{COMPARE} --output=.", (".: is a folder",), prepare=matrices),
    BadInput(
        "sweep into a folder", "study sweep pooling_study.yaml --output=.", (".: is a folder",), prepare=write_study
    ),
    BadInput(
        "experiment with a long name",
        f"fit {{fit}} --experiment={'x' * 300}",
        ("experiment: 'xxx", "is too long", "255 bytes"),
        prepare=camvid,
    ),
]

ROWS = [*VARIABLES, *PLACES]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_bad_surroundings(row, tmp_path, monkeypatch, capsys):
    fit = [*fit_options(Path("camvid"), Path("runs")), "--trainer.max_epochs=1"]
    cpu = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    check(row, {"{fit}": fit, "{cpu}": cpu}, tmp_path, monkeypatch, capsys)


def test_names_beyond_the_locale(tmp_path):
    """Python reads the words of a command in the locale's encoding, and cannot print all of them."""
    command = [sys.executable, "-m", "refinenet_pl", "class-weights", "--data=CamVidDataModule", "--data.root=größe"]
    locale = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | locale, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"has letters beyond ASCII" in done.stderr
    assert b"set PYTHONUTF8=1" in done.stderr
    assert b"Traceback" not in done.stderr
