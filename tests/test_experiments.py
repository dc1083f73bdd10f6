"""Every recipe trains and validates on every dataset; the data is fake, in the layout of the real dataset."""

from itertools import product
from pathlib import Path

import pytest
import yaml
from helpers.commands import TINY_NETWORK, TINY_TRAINER, only_run, refinenet
from helpers.fake_data import (
    make_ade20k,
    make_camvid,
    make_cityscapes,
    make_coco,
    make_nyudv2,
    make_pascal_context,
    make_person_part,
    make_sun_rgbd,
    make_voc,
)

from refinenet_pl.data import COCODataModule

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
DATASETS, RECIPES = (sorted((EXPERIMENTS / kind).glob("*.yaml")) for kind in ("datasets", "recipes"))
CAMVID, AUTHORS, CPU, QUICKSTART = (
    EXPERIMENTS / "datasets" / "camvid.yaml",
    *(EXPERIMENTS / "recipes" / f"{name}.yaml" for name in ("refinenet_authors", "lightweight_mobilenetv2_cpu")),
    EXPERIMENTS / "recipes" / "quickstart.yaml",
)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    names = ["a", "b", "c"]
    roots = {
        "ade20k": make_ade20k(folder / "ade20k"),
        "camvid": make_camvid(folder / "camvid", val=1),
        "coco": make_coco(folder / "coco"),
        "pascal_context": make_pascal_context(folder / "context", train=names[:2], val=names[2:]),
        "sun_rgbd": make_sun_rgbd(folder / "sun_rgbd"),
        "voc": make_voc(folder / "voc", train=names[:2], val=names[2:], augmented=names[:2]),
        "cityscapes": make_cityscapes(folder / "cityscapes"),
        "nyudv2": make_nyudv2(folder / "nyudv2"),
        "person_part": make_person_part(folder / "person_part", train=names[:2], val=names[2:]),
        "scenes": folder / "scenes",
    }
    COCODataModule(roots["coco"]).convert()
    return roots


def configs(*paths):
    return [word for path in paths for word in ("--config", path)]


def pairs():
    """Every dataset with every recipe. The fast tests take each dataset and each recipe at least once."""
    for (row, dataset), (column, recipe) in product(enumerate(DATASETS), enumerate(RECIPES)):
        fast = (row - column) % min(len(DATASETS), len(RECIPES)) == 0
        yield pytest.param(dataset, recipe, marks=() if fast else pytest.mark.slow, id=f"{dataset.stem}-{recipe.stem}")


@pytest.mark.parametrize(("dataset", "recipe"), pairs())
def test_recipe_runs_on_dataset(dataset, recipe, roots, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--model.network.encoder_weights=null", f"--data.root={roots[dataset.stem]}"]
    small = ["--data.crop_size=[64,64]", "--data.num_workers=0", "--trainer.fast_dev_run=1"]
    if recipe != AUTHORS:  # which trains on one image per step
        small.append("--data.batch_size=2")
    if recipe.stem != "lightweight_mobilenetv2":  # bf16 is slow on CPUs, so that one network checks it
        small.append("--trainer.precision=32-true")
    assert refinenet(monkeypatch, "fit", *configs(dataset, recipe), *options, *small, *TINY_TRAINER) == 0
    assert list(tmp_path.iterdir()) == []  # a trial run of one step writes nothing


@pytest.mark.parametrize("order", [(CAMVID, QUICKSTART), (QUICKSTART, CAMVID)], ids=["dataset", "recipe"])
def test_either_file_may_come_first(order, roots, tmp_path, monkeypatch):
    limits = ["--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1", "--trainer.limit_val_batches=1"]
    small = ["--data.crop_size=[32,48]", "--data.batch_size=2", f"--data.root={roots['camvid']}", f"--runs={tmp_path}"]
    options = [*TINY_NETWORK[1:], "--model.network.decoder_channels=[16,16,16,16]", *TINY_TRAINER]
    assert refinenet(monkeypatch, "fit", *configs(*order), *options, *small, *limits) == 0
    run = only_run(tmp_path)
    assert run.parent.name == "_".join(path.stem for path in order)
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["data"]["class_path"].endswith("CamVidDataModule")
    assert saved["model"]["network"]["class_path"].endswith("LightWeightRefineNet")


@pytest.mark.parametrize(
    ("order", "crop"), [((CAMVID, AUTHORS), [400, 400]), ((AUTHORS, CAMVID), [320, 448])], ids=["recipe", "dataset"]
)
def test_later_file_wins(order, crop, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        refinenet(monkeypatch, "fit", *configs(*order), "--print_config")
    assert yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["crop_size"] == crop


def test_cpu_recipe_validates_at_its_end(roots, tmp_path, monkeypatch):
    budget = ["--trainer.max_steps=3", "--trainer.val_check_interval=3", "--trainer.logger=false"]
    small = ["--data.crop_size=[32,48]", "--data.batch_size=2", "--data.num_workers=0", f"--runs={tmp_path}"]
    options = [*TINY_NETWORK[1:], f"--data.root={roots['camvid']}", *TINY_TRAINER]
    assert refinenet(monkeypatch, "fit", *configs(CAMVID, CPU), *options, *small, *budget) == 0
    assert (only_run(tmp_path) / "results.json").is_file()
