"""What a study's yaml says, and how it is refused."""

from pathlib import Path

import pytest
import yaml
from helpers.commands import refinenet
from helpers.tiny_study import POOLING, write_study

from refinenet_pl.errors import UserError
from refinenet_pl.studies.loading import load_study
from refinenet_pl.studies.study import row_name

STUDIES = sorted((Path(__file__).parents[1] / "experiments" / "studies").glob("*.yaml"))

CHAIN = {"1": {"model.network.init_args.pooling_blocks": 1}, "4": {"model.network.init_args.pooling_blocks": 4}}


def test_without_rows_every_combination_of_levels_is_a_row_and_the_first_levels_come_first(tmp_path):
    study = load_study(write_study(tmp_path, factors={"pooling": POOLING, "chain": CHAIN}, seeds=[3, 4]))
    rows = [("none", "1"), ("none", "4"), ("original", "1"), ("original", "4")]
    assert [tuple(levels.values()) for levels in study.grid] == rows
    assert [(tuple(cell.levels.values()), cell.seed) for cell in study.cells] == [(r, s) for s in (3, 4) for r in rows]


def test_listed_rows_are_the_rows(tmp_path):
    rows = [{"pooling": "original", "chain": "4"}, {"pooling": "none", "chain": "1"}]
    study = load_study(write_study(tmp_path, factors={"pooling": POOLING, "chain": CHAIN}, rows=rows))
    assert study.grid == rows


def test_a_cell_is_the_base_with_the_overrides_and_the_last_factor_wins(tmp_path):
    rate = "model.optimizer.init_args.lr"
    factors = {"first": {"a": {rate: 1, "trainer.max_epochs": 5}}, "second": {"b": {rate: 2}}}
    study = load_study(write_study(tmp_path, factors=factors, overrides={rate: 0, "data.init_args.flip": False}))
    (cell,) = study.cells
    expected = yaml.safe_load((tmp_path / "base.yaml").read_text())
    expected["model"]["optimizer"] = {"init_args": {"lr": 2}}
    expected["trainer"]["max_epochs"] = 5
    expected["data"]["init_args"]["flip"] = False
    assert cell.config == {**expected, "seed_everything": 0}


def test_an_override_with_a_section_replaces_the_whole_section(tmp_path):
    network = {"class_path": "segmentation_models_pytorch.FPN", "init_args": {"encoder_name": "resnet18"}}
    study = load_study(write_study(tmp_path, factors={"network": {"FPN": {"model.network": network}}}))
    assert study.cells[0].config["model"]["network"] == network


def test_cells_that_differ_in_inference_alone_share_a_training(tmp_path):
    test = {"one": {"model.inference.scales": [1.0]}, "two": {"model.inference.scales": [0.5, 1.0]}}
    study = load_study(write_study(tmp_path, factors={"pooling": POOLING, "test": test}, seeds=[0, 1]))
    shared = [[(*cell.levels.values(), cell.seed) for cell in cells] for cells in study.cell_groups]
    assert shared == [[(p, "one", s), (p, "two", s)] for s in (0, 1) for p in ("none", "original")]


@pytest.mark.parametrize("listed", [False, True])
def test_wandb_gets_one_group_a_study_and_the_levels_as_configuration(tmp_path, listed):
    logger = {"class_path": "WandbLogger", "init_args": {"project": "trial"}}
    loggers = [{"class_path": "TensorBoardLogger", "init_args": {"save_dir": "there"}}, logger] if listed else logger
    study = load_study(write_study(tmp_path, overrides={"trainer.logger": loggers}))
    configured = study.cells[1].config["trainer"]["logger"]
    arguments = (configured[1] if listed else configured)["init_args"]
    config = {"study": "tiny", "levels": {"pooling": "original"}}
    assert arguments == {"project": "trial", "group": "tiny", "config": config}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "nowhere.yaml"}, r"base: cannot read .*nowhere\.yaml"),
        ({"base": "tiny.yaml"}, r"no sections `model` and `data`"),
        ({"factors": {"pooling": {}}}, r"factor pooling has no levels"),
        ({"factors": {"seed": {"a": {}}}}, r"cannot be called seed"),
        ({"factors": {"pooling": {True: {}}}}, r"factors\.pooling\.1.*valid string, but found True"),
        ({"factors": {"pooling": {"none": {"data.class_path.x": 1}}}}, r"cannot set data\.class_path\.x"),
        ({"rows": [{"pooling": "some"}]}, r"no level 'some'; it has none, original"),
        ({"rows": [{}]}, r"must name a level for each of pooling"),
        ({"rows": [{"pooling": "none"}, {"pooling": "none"}]}, r"two of the same row and seed"),
        ({"seeds": [1, 1]}, r"two of the same row and seed"),
        ({"seeds": "many"}, r"seeds"),
        ({"factor": {}}, r"factor"),
        ({"image_size": [3]}, r"image_size"),
        (
            {
                "rows": [{"pooling": "none"}],
                "published": [{"levels": {"pooling": "original"}, "value": 1.0, "source": "", "verified": True}],
            },
            r"is none of the rows",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_key(tmp_path, changes, message):
    path = write_study(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as refused:
        load_study(path)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path, monkeypatch, capsys):
    assert refinenet(monkeypatch, "study", "run", tmp_path / "none.yaml") == 2
    assert f"cannot read {tmp_path}/none.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_row_of_a_shipped_study_parses_as_an_experiment(path, tmp_path, monkeypatch, capsys):
    study = load_study(path)
    assert study.title
    for levels in study.grid:
        cell = next(cell for cell in study.cells if cell.levels == levels)
        config = tmp_path / f"{row_name(levels)}.yaml"
        config.write_text(yaml.safe_dump(cell.config))
        with pytest.raises(SystemExit) as done:
            refinenet(monkeypatch, "fit", "--config", config, "--print_config")
        shown = capsys.readouterr()
        assert done.value.code in (0, None), shown.err
        network = yaml.safe_load(shown.out)["model"]["network"]
        for key, value in cell.config["model"]["network"]["init_args"].items():
            assert network["init_args"][key] == value


def test_published_figures_that_were_not_read_at_their_source_say_so():
    published = [figure for path in STUDIES for figure in load_study(path).published]
    assert {figure.verified for figure in published} == {False, True}
    assert all(not figure.verified for figure in published if "Lin et al." in figure.source)
    assert all(figure.source for figure in published)
