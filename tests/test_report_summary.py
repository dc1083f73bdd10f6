"""The summary of a study's folder, against numpy's own count over the same files."""

import json
import shutil

import numpy as np
import pytest
import yaml
from helpers.fake_study import CLASSES, finish, write_study

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.comparison import compare
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.reports.notes import explanations, warnings
from refinenet_pl.reports.summary import summarize_study
from refinenet_pl.studies.loading import load_study

INFERENCE = {"whole": {}, "mirrored": {"model.inference": {"flip": True}}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished study's yaml and the folder of its runs; not to be changed."""
    folder = tmp_path_factory.mktemp("study")
    path = write_study(folder)
    finish(path, folder / "runs")
    return path, folder / "runs"


@pytest.fixture(scope="module")
def summary(made):
    return summarize_study(load_study(made[0]), made[1])


def folders(runs, row):
    return [next((runs / "pooling_study" / f"pooling-{row}_seed-{seed}").iterdir()) for seed in (0, 1)]


def mious(runs, row):
    return [json.loads((folder / "results.json").read_text())["miou"] for folder in folders(runs, row)]


def test_a_row_has_mean_and_sample_deviation_over_its_seeds_and_the_difference_of_means(made, summary):
    base = mious(made[1], "none")
    for row, name in zip(summary.rows, ("none", "original", "improved"), strict=True):
        values = mious(made[1], name)
        assert row.values == values
        assert row.mean == pytest.approx(np.mean(values))
        assert row.std == pytest.approx(np.std(values, ddof=1))
        if row is summary.rows[0]:
            assert (row.difference, row.compared) == (None, None)
        else:
            assert row.difference == pytest.approx(np.mean(values) - np.mean(base))
            assert row.compared["miou"]["difference"] == pytest.approx(row.difference)
            low, high = row.interval("miou")
            assert low < row.difference < high


def test_the_figure_may_be_any_in_the_results_and_only_iou_has_an_interval(tmp_path):
    for metric, has_interval in {"per_class_iou.car": True, "pixel_accuracy": False}.items():
        path = write_study(tmp_path / metric, metric=metric)
        study = finish(path, tmp_path / metric / "runs", images=5)
        row = summarize_study(study, tmp_path / metric / "runs").rows[1]
        results = json.loads((row.runs[0].folder / "results.json").read_text())
        assert row.values[0] == (results["per_class_iou"]["car"] if has_interval else results["pixel_accuracy"])
        ends = row.interval(metric)
        assert (ends is not None) == has_interval
        if ends is not None:
            assert row.difference == pytest.approx(np.mean(ends), abs=np.ptp(ends) / 2)
    path = write_study(tmp_path / "pixel_accuracy", metric="per_class_iou.lorry")
    with pytest.raises(UserError, match=r"per_class_iou\.lorry.*results\.json has no 'lorry' there, but road, car"):
        summarize_study(load_study(path), tmp_path / "pixel_accuracy" / "runs")


def test_one_seed_gives_what_compare_gives_for_its_two_runs_and_no_deviation(tmp_path):
    study = finish(write_study(tmp_path, seeds=[0]), tmp_path / "runs", images=8)
    row = summarize_study(study, tmp_path / "runs").rows[2]
    first, second = (
        ImageMatrices.load(next((tmp_path / "runs" / study.name / f"pooling-{name}_seed-0").rglob("per_image.npz")))
        for name in ("none", "improved")
    )
    assert row.compared == compare(first, second)
    assert row.std is None


def test_a_class_that_no_image_has_is_undefined_and_not_zero(summary):
    row = summary.rows[1]
    assert np.isnan(row.scores.iou[CLASSES.index("traffic light")])
    assert row.compared["per_class_iou"]["traffic light"] == dict.fromkeys(("a", "b", "difference", "interval"))


def test_learning_curves_join_the_parts_of_a_run_and_leave_out_the_evaluation_after_it(summary):
    row = summary.rows[0]
    for run in row.runs:
        miou = run.results["miou"]
        expected = {100: 0.5 * miou, 200: 0.8 * miou, 300: 0.95 * miou, 400: miou}
        assert row.curves[run.training] == pytest.approx(expected)


def test_costs_are_of_training_the_mean_over_seeds_and_of_inference_the_rows_line(summary):
    costs = summary.rows[1].costs
    assert (costs.training_time, costs.training_memory) == (3900, 1500.5)
    assert (costs.gflops, costs.latency, costs.inference_memory) == (10.25, 0.25, 400.5)
    assert (costs.parameters, costs.device) == (3_300_000, "abacus")


def test_costs_that_nobody_measured_are_nothing(tmp_path):
    study = finish(write_study(tmp_path, seeds=[0]), tmp_path / "runs", images=3)
    (tmp_path / "runs" / study.name / "inference.csv").unlink()
    for path in tmp_path.rglob("costs.json"):
        path.unlink()
    for row in summarize_study(study, tmp_path / "runs").rows:
        assert set(vars(row.costs).values()) == {None}


def test_of_half_a_study_what_there_is_is_summarized_and_what_is_missing_is_named(tmp_path):
    path = write_study(tmp_path)
    unfinished = ["pooling-none_seed-1", "pooling-improved_seed-0", "pooling-improved_seed-1"]
    study = finish(path, tmp_path / "runs", images=3, unfinished=unfinished)
    begun = tmp_path / "runs" / study.name / unfinished[0] / "20260101-000000-abcd"
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "config.yaml").touch()
    (begun / "checkpoints" / "last.ckpt").touch()
    summary = summarize_study(study, tmp_path / "runs")
    assert list(summary.missing) == ["pooling-improved_seed-0", "pooling-none_seed-1", "pooling-improved_seed-1"]
    assert [len(row.runs) for row in summary.rows] == [1, 2, 0]
    none, original, improved = summary.rows
    assert (improved.mean, improved.difference, improved.interval("miou")) == (None, None, None)
    assert original.difference == pytest.approx(np.mean(mious(tmp_path / "runs", "original")) - none.mean)
    said = "\n".join(warnings(summary))
    assert f"{unfinished[0]} (can go on from a checkpoint)" in said
    assert f"{unfinished[1]} (not begun)" in said
    assert any("different numbers of finished seeds" in line for line in explanations(summary))


def test_a_study_of_which_nothing_has_finished_is_refused_with_where_its_runs_should_be(tmp_path):
    study = load_study(write_study(tmp_path))
    with pytest.raises(UserError, match=rf"none of its 6 cells.*{tmp_path}/nowhere/pooling_study"):
        summarize_study(study, tmp_path / "nowhere")


def test_runs_that_were_configured_otherwise_than_the_study_says_are_listed(tmp_path):
    study = finish(write_study(tmp_path), tmp_path / "runs", images=3)
    assert summarize_study(study, tmp_path / "runs").deviations == []
    config = next((tmp_path / "runs" / study.name / "pooling-original_seed-1").rglob("config.yaml"))
    config.write_text(config.read_text().replace("pooling: original", "pooling: improved"))
    (line,) = summarize_study(study, tmp_path / "runs").deviations
    assert "pooling-original_seed-1: model.network.init_args.pooling was 'improved'; the study says 'original'" in line


def test_a_row_that_was_only_evaluated_has_the_costs_and_curves_of_the_training_that_it_shares(tmp_path):
    path = write_study(tmp_path, factors={"test": INFERENCE}, seeds=[0])
    study = finish(path, tmp_path / "runs", images=3)
    config = next((tmp_path / "runs" / study.name).glob("test-mirrored_seed-0/*-validate/config.yaml"))
    # As `validate` saves it: without a logger, and without the pre-trained weights that its checkpoint replaces.
    content = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(content | {"trainer": {"logger": False}}))
    summary = summarize_study(study, tmp_path / "runs")
    whole, mirrored = summary.rows
    assert mirrored.runs[0].training == whole.runs[0].folder
    assert mirrored.costs.training_time == whole.costs.training_time == 3600
    assert mirrored.curves == whole.curves
    assert mirrored.costs.latency != whole.costs.latency
    assert any(
        "One training serves several rows" in line and "whole, mirrored" in line for line in explanations(summary)
    )


def test_runs_over_other_images_are_refused_with_both_folders(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "runs")
    other = folders(tmp_path / "runs", "improved")[1] / "per_image.npz"
    images = ImageMatrices(CLASSES)
    images.add("another", np.eye(3, dtype=np.int64))
    images.save(other)
    with pytest.raises(UserError, match=r"pooling-none_seed-0[\s\S]*pooling-improved_seed-1[\s\S]*in only one run"):
        summarize_study(load_study(made[0]), tmp_path / "runs")


def test_a_published_figure_stands_with_its_row_alone(tmp_path):
    published = [{"levels": {"pooling": "original"}, "value": 40.5, "source": "A paper", "verified": True}]
    study = finish(write_study(tmp_path, published=published), tmp_path / "runs", images=3)
    rows = summarize_study(study, tmp_path / "runs").rows
    assert [row.published and row.published.value for row in rows] == [None, 40.5, None]
