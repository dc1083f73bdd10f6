"""docs/three_stages.md: its commands run one after the other, and each stage starts from the network before."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from helpers.commands import TINY_NETWORK, TINY_TRAINER, refinenet
from helpers.fake_data import make_coco, make_voc

from refinenet_pl.runs import RunFolder

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "three_stages.md").read_text()
SMALL = [
    *(*TINY_NETWORK[1:], "--model.network=LightWeightRefineNet", *TINY_TRAINER, "--trainer.precision=32-true"),
    *("--trainer.logger=false", "--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1"),
    *("--data.crop_size=32", "--data.num_workers=0", "--data.batch_size=2"),
]
NO_CHANGE = ["--model.optimizer.lr=0", "--model.batch_norm=frozen"]


def commands():
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for line in block.replace("\\\n", " ").splitlines()]


def run_of(stage):
    (run,) = Path("runs", stage).iterdir()
    return run


def weights_of(run):
    state = torch.load(RunFolder(run).best_checkpoint)["state_dict"]
    return {key: value for key, value in state.items() if key.startswith("network.")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    make_coco(tmp_path / "coco")
    make_voc(tmp_path / "voc", train=["a", "b"], val=["c"], augmented=["a", "b", "d"])
    monkeypatch.chdir(tmp_path)


def test_stages_start_from_each_other(folder, monkeypatch):
    prepare, *stages = commands()
    assert refinenet(monkeypatch, *[word.replace("/data/", "") for word in prepare]) == 1  # not the official number
    for number, command in enumerate(stages, start=1):
        words = [word.replace("/data/", "") for word in command]
        words = [str(run_of(word.split("/")[1])) if word.endswith("/RUN") else word for word in words]
        options = SMALL if number == 1 else [*SMALL, *NO_CHANGE]
        assert refinenet(monkeypatch, *words, *options) == 0
    first, third = weights_of(run_of("stage1")), weights_of(run_of("stage3"))
    assert first.keys() == third.keys()
    assert all(torch.equal(first[key], third[key]) for key in first if not key.endswith("num_batches_tracked"))
    configs = [RunFolder(run_of(f"stage{number}")).read_config()["data"]["init_args"] for number in (2, 3)]
    assert [config["train_split"] for config in configs] == ["trainaug", "train"]
