"""Studies are read, composed into cells, and refused with the key of a mistake."""

from pathlib import Path

import pytest
import yaml
from helpers.commands import refinenet
from helpers.tiny_study import (
    CROP_SIZE,
    LOADER,
    NETWORK,
    POOLING,
    TRAINER,
    write_datasets_study,
    write_study,
    write_yaml,
)

from refinenet_pl.errors import UserError
from refinenet_pl.studies.composition import compose
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.study import PublishedMetric, Study, row_name

STUDIES = sorted((Path(__file__).parents[1] / "experiments" / "studies").glob("*.yaml"))

CHAIN = {"1": {"model.network.init_args.pooling_blocks": 1}, "4": {"model.network.init_args.pooling_blocks": 4}}
RATE = "model.optimizer.init_args.lr"
DATASET_FILE = """
data:
  class_path: CamVidDataModule
  init_args: {root: data/camvid, crop_size: [32, 48], color_jitter: 0.1}
trainer: {max_epochs: 300, check_val_every_n_epoch: 10, callbacks: [{class_path: EMA}]}
"""
RECIPE_FILE = """
model:
  network: {class_path: LightWeightRefineNet, init_args: {encoder_name: tu-test_resnet.r160_in1k}}
  optimizer: {class_path: AdamW, init_args: {lr: 1e-3, weight_decay: 0.01}}
  encoder_lr_factor: 2.5e-1
data: {init_args: {batch_size: 4, color_jitter: 0.3}}
trainer:
  precision: bf16-mixed
  callbacks: []
  logger: {class_path: WandbLogger, init_args: {project: trial}}
"""


def printed_config(monkeypatch, capsys, *files: Path) -> dict:
    """Return what `fit --print_config` prints for experiment files."""
    options = [word for file in files for word in ("--config", file)]
    with pytest.raises(SystemExit) as done:
        refinenet(monkeypatch, "fit", *options, "--print_config")
    printed = capsys.readouterr()
    assert done.value.code in (0, None), printed.err[-3000:]
    return yaml.safe_load(printed.out)


def test_rows_are_all_combinations(tmp_path):
    study = load_study(write_study(tmp_path, factors={"pooling": POOLING, "chain": CHAIN}, seeds=[3, 4]))
    rows = [("none", "1"), ("none", "4"), ("original", "1"), ("original", "4")]
    assert [tuple(levels.values()) for levels in study.grid] == rows
    assert [(tuple(cell.levels.values()), cell.seed) for cell in study.cells] == [(r, s) for s in (3, 4) for r in rows]


def test_rows_can_be_listed(tmp_path):
    rows = [{"pooling": "original", "chain": "4"}, {"pooling": "none", "chain": "1"}]
    study = load_study(write_study(tmp_path, factors={"pooling": POOLING, "chain": CHAIN}, rows=rows))
    assert study.grid == rows


def test_last_override_wins(tmp_path):
    factors = {"first": {"a": {RATE: 1, "trainer.max_epochs": 5}}, "second": {"b": {RATE: 2}}}
    study = load_study(write_study(tmp_path, factors=factors, overrides={RATE: 0, "data.init_args.flip": False}))
    (cell,) = study.cells
    expected = yaml.safe_load((tmp_path / "base.yaml").read_text())
    expected["model"]["optimizer"] = {"init_args": {"lr": 2}}
    expected["trainer"]["max_epochs"] = 5
    expected["data"]["init_args"]["flip"] = False
    assert cell.config == {**expected, "seed_everything": 0}
    assert (cell.name, cell.row, cell.dataset) == ("first-a_second-b_seed-0", "first-a_second-b", None)


def test_override_replaces_a_section(tmp_path):
    network = {"class_path": "segmentation_models_pytorch.FPN", "init_args": {"encoder_name": "resnet18"}}
    study = load_study(write_study(tmp_path, factors={"network": {"FPN": {"model.network": network}}}))
    assert study.cells[0].config["model"]["network"] == network


def test_inference_shares_a_training(tmp_path):
    test = {"one": {"model.inference.scales": [1.0]}, "two": {"model.inference.scales": [0.5, 1.0]}}
    study = load_study(write_study(tmp_path, factors={"pooling": POOLING, "test": test}, seeds=[0, 1]))
    shared = [[(*cell.levels.values(), cell.seed) for cell in cells] for cells in study.cell_groups]
    assert shared == [[(p, "one", s), (p, "two", s)] for s in (0, 1) for p in ("none", "original")]


@pytest.mark.parametrize("listed", [False, True])
def test_wandb_group_and_levels(tmp_path, listed):
    logger = {"class_path": "WandbLogger", "init_args": {"project": "trial"}}
    loggers = [{"class_path": "TensorBoardLogger", "init_args": {"save_dir": "here"}}, logger] if listed else logger
    study = load_study(write_study(tmp_path, overrides={"trainer.logger": loggers}))
    configured = study.cells[1].config["trainer"]["logger"]
    arguments = (configured[1] if listed else configured)["init_args"]
    config = {"study": "tiny", "levels": {"pooling": "original"}}
    assert arguments == {"project": "trial", "group": "tiny", "config": config}


def test_later_base_wins(tmp_path):
    write_yaml(tmp_path / "change.yaml", {"data": {"init_args": {"crop_size": [64, 64]}}, "trainer": {"max_epochs": 9}})
    one, two = (load_study(write_study(tmp_path, base=base)) for base in ("base.yaml", ["base.yaml", "change.yaml"]))
    expected = one.cells[0].config
    expected["data"]["init_args"]["crop_size"] = [64, 64]
    expected["trainer"]["max_epochs"] = 9
    assert two.cells[0].config == expected
    reverse = load_study(write_study(tmp_path, base=["change.yaml", "base.yaml"])).cells[0].config
    assert reverse["data"]["init_args"]["crop_size"] == CROP_SIZE
    assert reverse["trainer"]["max_epochs"] == TRAINER["max_epochs"]


@pytest.mark.parametrize("order", [("dataset.yaml", "recipe.yaml"), ("recipe.yaml", "dataset.yaml")])
def test_bases_merge_as_configs_do(tmp_path, monkeypatch, capsys, order):
    (tmp_path / "dataset.yaml").write_text(DATASET_FILE)
    (tmp_path / "recipe.yaml").write_text(RECIPE_FILE)
    composed = write_yaml(tmp_path / "composed.yaml", compose(tmp_path / "study.yaml", order))
    merged = printed_config(monkeypatch, capsys, *(tmp_path / name for name in order))
    assert printed_config(monkeypatch, capsys, composed) == merged
    assert merged["model"]["optimizer"]["init_args"]["lr"] == 0.001
    assert merged["data"]["init_args"]["color_jitter"] == (0.3 if order[1] == "recipe.yaml" else 0.1)


def test_datasets_span_the_cells(tmp_path):
    study = load_study(write_datasets_study(tmp_path, seeds=[0, 1]))
    assert study.dataset_names == ["camvid", "person_part"]
    assert [cell.name for cell in study.cells] == [
        f"{dataset}_pooling-{pooling}_seed-{seed}"
        for dataset in ("camvid", "person-part")  # "_" separates the words of a name
        for seed in (0, 1)
        for pooling in POOLING
    ]
    assert {cell.dataset for cell in study.cells_of("person_part")} == {"person_part"}
    assert study.cells[0].row == row_name({"pooling": "none"}, "camvid") == "camvid_pooling-none"
    assert [len(group) for group in study.cell_groups] == [1] * 8


def test_recipe_merges_over_datasets(tmp_path):
    study = load_study(write_datasets_study(tmp_path))
    for cell in study.cells_of("camvid"):
        arguments = {"root": str(tmp_path / "camvid"), "crop_size": CROP_SIZE, **LOADER}  # not the dataset's 7 images
        assert cell.config["data"] == {"class_path": "CamVidDataModule", "init_args": arguments}
        assert cell.config["trainer"] == TRAINER
    for cell in study.cells_of("person_part"):
        assert cell.config["data"]["class_path"] == "PersonPartDataModule"


def test_overrides_of_datasets(tmp_path):
    steps, flip = "trainer.max_steps", "data.init_args.flip"
    overrides = {RATE: 2, steps: 2, flip: False}
    study = load_study(
        write_datasets_study(
            tmp_path,
            datasets={
                "camvid": {"base": ["camvid.yaml"], "image_size": [10, 20], "overrides": overrides},
                "person_part": {"base": ["camvid.yaml", "person_part.yaml"]},
            },
            factors={"rate": {"three": {RATE: 3}}},
            overrides={RATE: 1, steps: 1},
        )
    )
    assert study.overrides_of({"rate": "three"}, "camvid") == {steps: 2, flip: False, RATE: 3}
    assert study.overrides_of({"rate": "three"}, "person_part") == {steps: 1, RATE: 3}
    camvid, person_part = (cell.config for cell in study.cells)
    assert [config["trainer"]["max_steps"] for config in (camvid, person_part)] == [2, 1]
    assert [config["model"]["optimizer"]["init_args"]["lr"] for config in (camvid, person_part)] == [3, 3]
    assert "flip" not in person_part["data"]["init_args"]
    assert study.image_size_of("camvid") == (10, 20)
    assert study.image_size_of("person_part") == (48, 64)


def test_wandb_gets_the_dataset(tmp_path):
    logger = {"class_path": "WandbLogger", "init_args": {"project": "trial"}}
    study = load_study(write_datasets_study(tmp_path, overrides={"trainer.logger": logger}))
    arguments = study.cells[0].config["trainer"]["logger"]["init_args"]
    assert arguments["config"]["levels"] == {"dataset": "camvid", "pooling": "none"}


def test_published_of_a_dataset(tmp_path):
    value = {"levels": {"pooling": "none"}, "value": 60.5, "source": "a table", "evidence": "read"}
    study = load_study(write_datasets_study(tmp_path, published=[{**value, "dataset": "person_part"}]))
    published = study.published_for({"pooling": "none"}, "person_part")
    assert published is not None
    assert published.value == 60.5
    assert study.published_for({"pooling": "none"}, "camvid") is None
    assert study.published_for({"pooling": "original"}, "person_part") is None
    for wrong, expected in ((None, "camvid, person_part"), ("voc", "camvid, person_part")):
        with pytest.raises(UserError, match=f"dataset is {wrong!r}; expected {expected}"):
            load_study(write_datasets_study(tmp_path, published=[{**value, "dataset": wrong}]))
    with pytest.raises(UserError, match="dataset is 'camvid'; expected no dataset"):
        load_study(write_study(tmp_path, published=[{**value, "dataset": "camvid"}]))


def test_image_size_is_required(tmp_path):
    path = write_datasets_study(tmp_path, image_size=None)
    with pytest.raises(UserError, match="image_size is missing for the dataset camvid; give height and width"):
        load_study(path)
    with pytest.raises(UserError, match="image_size is missing; give height and width"):
        load_study(write_study(tmp_path, image_size=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "nowhere.yaml"}, r"base: cannot read .*nowhere\.yaml"),
        ({"base": "tiny.yaml"}, r"base tiny\.yaml: found no model\.network\.class_path; expected an experiment"),
        ({"base": ["part.yaml"]}, r"base part\.yaml: found no data\.class_path; expected an experiment"),
        ({"base": 3}, r"base.*found 3"),
        ({"datasets": {"camvid": {}}}, r"datasets\.camvid\.base"),
        ({"datasets": {"camvid": {"base": "base.yaml", "overides": {}}}}, r"datasets\.camvid\.overides"),
        ({"factors": {"pooling": {}}}, r"factor pooling has no levels"),
        ({"factors": {"seed": {"a": {}}}}, r"cannot be named seed"),
        ({"factors": {"dataset": {"a": {}}}}, r"cannot be named dataset"),
        ({"factors": {"pooling": {True: {}}}}, r"factors\.pooling\.1.*valid string, but found True"),
        ({"factors": {"pooling": {"none": {"data.class_path.x": 1}}}}, r"cannot set data\.class_path\.x"),
        ({"rows": [{"pooling": "some"}]}, r"no level 'some'; expected one of none, original"),
        ({"rows": [{}]}, r"must name one level of each factor: pooling"),
        ({"rows": [{"pooling": "none"}, {"pooling": "none"}]}, r"cells with the same row and seed"),
        ({"rows": []}, r"found no cells"),
        ({"seeds": [1, 1]}, r"cells with the same row and seed"),
        ({"seeds": "many"}, r"seeds.*found many"),
        ({"factor": {}}, r"factor"),
        ({"image_size": [3]}, r"image_size"),
        (
            {
                "rows": [{"pooling": "none"}],
                "published": [{"levels": {"pooling": "original"}, "value": 1.0, "source": "", "evidence": "read"}],
            },
            r"published: .* is not a row of the study",
        ),
    ],
)
def test_mistakes_are_refused(tmp_path, changes, message):
    write_yaml(tmp_path / "part.yaml", {"model": {"network": NETWORK}})
    path = write_study(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as error:
        load_study(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("model.network.pooling", "model.network.init_args.pooling"),
        ("data.crop_size", "data.init_args.crop_size"),
        ("model.network.encoder.name", "model.network.init_args.encoder.name"),
    ],
)
@pytest.mark.parametrize("place", ["overrides", "factors"])
def test_missing_init_args_are_named(tmp_path, monkeypatch, capsys, wrong, right, place):
    changes = {"overrides": {wrong: 1}} if place == "overrides" else {"factors": {"pooling": {"a": {wrong: 1}}}}
    path = write_study(tmp_path, **changes)
    assert refinenet(monkeypatch, "study", "run", path, "--runs", tmp_path / "runs") == 2
    error = capsys.readouterr().err
    assert f"override {wrong}: " in error
    assert error.rstrip().endswith(f"write {right}")
    assert not (tmp_path / "runs").exists()


def test_missing_file_is_named(tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "study", "run", tmp_path / "none.yaml") == 2
    assert f"cannot read {tmp_path}/none.yaml" in capsys.readouterr().err


def one_cell_per_row(study: Study) -> list:
    """Return the cells of the first seed: each row of each dataset."""
    return [cell for cell in study.cells if cell.seed == study.seeds[0]]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_shipped_studies_parse(path, tmp_path, monkeypatch, capsys):
    study = load_study(path)
    assert study.title
    for cell in one_cell_per_row(study):
        config = printed_config(monkeypatch, capsys, write_yaml(tmp_path / f"{cell.row}.yaml", cell.config))
        assert config["data"]["class_path"].rpartition(".")[2] == cell.config["data"]["class_path"]
        for key, value in cell.config["model"]["network"].get("init_args", {}).items():
            assert config["model"]["network"]["init_args"][key] == value


def test_published_values_have_sources():
    published = [value for path in STUDIES for value in load_study(path).published]
    for value in published:
        for key in ("source", "evidence", "date", "split", "scales", "training"):
            assert getattr(value, key), f"{value}: {key}"
    # The paper's own tables are recalled. Only lists of others were read.
    of_paper = [value for value in published if "Lin et al." in value.source]
    assert all(value.weak for value in of_paper)
    assert {value.evidence for value in published} == {"read", "list", "recalled"}


def test_provenance_in_one_line():
    value = PublishedMetric(
        {}, 46.5, "A table", "list", date="2026-11-25", split="test", scales="one scale", training="COCO"
    )
    assert value.provenance == (
        "A table; test, one scale, trained on COCO; read in a list of results, not in a paper 2026-11-25"
    )
    assert PublishedMetric({}, 46.5, "A table", "read").provenance == "A table; read there"
