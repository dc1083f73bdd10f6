"""Every experiment's yaml trains, validates and fits its data; the data is fake, in the dataset's true layout."""

from pathlib import Path

import pytest
from helpers.commands import TINY_TRAINER, refinenet
from helpers.fake_data import make_camvid, make_cityscapes, make_nyudv2, make_person_part, make_voc

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    names = ["a", "b", "c"]
    return {
        "camvid": make_camvid(folder / "camvid", val=1),
        "voc": make_voc(folder / "voc", train=names[:2], val=names[2:], augmented=names[:2]),
        "cityscapes": make_cityscapes(folder / "cityscapes"),
        "nyudv2": make_nyudv2(folder / "nyudv2"),
        "person_part": make_person_part(folder / "person_part", train=names[:2], val=names[2:]),
        "experiments": folder / "scenes",
    }


@pytest.mark.parametrize(
    "experiment",
    [path for path in sorted(EXPERIMENTS.rglob("*.yaml")) if path.parent.name != "studies"],
    ids=lambda path: str(path.relative_to(EXPERIMENTS)),
)
def test_experiment_runs_and_a_trial_run_writes_nothing(experiment, roots, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--model.network.encoder_weights=null", f"--data.root={roots[experiment.parent.name]}"]
    small = ["--data.crop_size=[64,64]", "--data.num_workers=0", "--trainer.fast_dev_run=1"]
    if "_authors" not in experiment.stem:
        small.append("--data.batch_size=2")
    assert refinenet(monkeypatch, "fit", "--config", experiment, *options, *small, *TINY_TRAINER) == 0
    assert list(tmp_path.iterdir()) == []
