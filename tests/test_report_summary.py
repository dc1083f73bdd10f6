"""Summaries of studies, against numpy on the same files."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.fake_study import CLASSES, finish, write_metrics, write_study

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.comparison import compare
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.reports.assemble import assemble
from refinenet_pl.reports.markdown import markdown
from refinenet_pl.reports.notes import notes
from refinenet_pl.reports.study_runs import find_runs
from refinenet_pl.reports.study_summary import summarize_study
from refinenet_pl.reports.summary import Summary
from refinenet_pl.studies.folders import cell_folder
from refinenet_pl.studies.loading import load_study

INFERENCE = {"whole": {}, "flipped": {"model.inference": {"flip": True}}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """File of a finished study, and the folder of its runs. Tests do not change them."""
    folder = tmp_path_factory.mktemp("study")
    path = write_study(folder)
    finish(path, folder / "runs")
    return path, folder / "runs"


@pytest.fixture(scope="module")
def summary(finished):
    return summarize_study(load_study(finished[0]), finished[1])


def rows_of(summary: Summary):
    """The rows of a study of one dataset."""
    (dataset,) = summary.datasets
    return dataset.rows


def folders(runs, row):
    return [next((runs / "pooling_study" / f"pooling-{row}_seed-{seed}").iterdir()) for seed in (0, 1)]


def mious(runs, row):
    return [json.loads((folder / "results.json").read_text())["miou"] for folder in folders(runs, row)]


def test_row_means_and_differences(finished, summary):
    base = mious(finished[1], "none")
    for row, name in zip(rows_of(summary), ("none", "original", "improved"), strict=True):
        values = mious(finished[1], name)
        assert row.values == values
        assert row.mean == pytest.approx(np.mean(values))
        assert row.std == pytest.approx(np.std(values, ddof=1))
        if row is rows_of(summary)[0]:
            assert (row.difference, row.compared) == (None, None)
        else:
            assert row.difference == pytest.approx(np.mean(values) - np.mean(base))
            assert row.compared.estimate.value[-1] == pytest.approx(row.difference)
            low, high = row.difference_interval("miou")
            assert low < row.difference < high
            images = row.compared.estimate.image_interval()[-1]
            assert low < images[0] < images[1] < high
            assert 0 <= row.seed_share("miou") < 1


def test_any_metric_only_iou_has_interval(tmp_path):
    for metric, has_interval in {"per_class_iou.car": True, "pixel_accuracy": False}.items():
        path = write_study(tmp_path / metric, metric=metric)
        study = finish(path, tmp_path / metric / "runs", images=5)
        row = rows_of(summarize_study(study, tmp_path / metric / "runs"))[1]
        results = json.loads(row.runs[0].folder.results.read_text())
        assert row.values[0] == (results["per_class_iou"]["car"] if has_interval else results["pixel_accuracy"])
        ends = row.difference_interval(metric)
        assert (row.interval(metric) is not None) == has_interval
        assert (ends is not None) == has_interval
        if ends is not None:
            assert row.difference == pytest.approx(np.mean(ends), abs=np.ptp(ends) / 2)
    path = write_study(tmp_path / "pixel_accuracy", metric="per_class_iou.lorry")
    with pytest.raises(UserError, match=r"per_class_iou\.lorry.*results\.json has no 'lorry'; found road, car"):
        summarize_study(load_study(path), tmp_path / "pixel_accuracy" / "runs")


def test_one_seed_equals_compare(tmp_path):
    study = finish(write_study(tmp_path, seeds=[0]), tmp_path / "runs", images=8)
    row = rows_of(summarize_study(study, tmp_path / "runs"))[2]
    first, second = (
        ImageMatrices.load(next((tmp_path / "runs" / study.name / f"pooling-{name}_seed-0").rglob("per_image.npz")))
        for name in ("none", "improved")
    )
    assert row.compared is not None
    assert row.compared.as_dict()["miou"] == compare([first], [second]).as_dict()["miou"]
    assert row.std is None
    assert row.seed_share("miou") is None


def test_absent_class_is_undefined(summary):
    row = rows_of(summary)[1]
    assert np.isnan(row.scores.iou[CLASSES.index("traffic light")])
    entry = row.compared.as_dict()["per_class_iou"]["traffic light"]
    assert set(entry.values()) == {None}


def test_learning_curve(summary):
    row = rows_of(summary)[0]
    for run in row.runs:
        miou = run.results["miou"]
        expected = {100: 0.5 * miou, 200: 0.8 * miou, 300: 0.95 * miou, 400: miou}
        assert row.curves[run.training.path] == pytest.approx(expected)


def test_costs_of_training_and_inference(summary):
    costs = rows_of(summary)[1].costs
    assert (costs.training_time, costs.training_memory) == (3900, 1500.5)
    assert (costs.gflops, costs.latency, costs.inference_memory) == (10.25, 0.25, 400.5)
    assert (costs.parameters, costs.device) == (3_300_000, "abacus")


def test_missing_costs_are_none(tmp_path):
    study = finish(write_study(tmp_path, seeds=[0]), tmp_path / "runs", images=3)
    (tmp_path / "runs" / study.name / "inference.csv").unlink()
    for path in tmp_path.rglob("costs.json"):
        path.unlink()
    for row in rows_of(summarize_study(study, tmp_path / "runs")):
        assert set(vars(row.costs).values()) == {None}


def test_missing_cells_are_listed(tmp_path):
    path = write_study(tmp_path)
    unfinished = ["pooling-none_seed-1", "pooling-improved_seed-0", "pooling-improved_seed-1"]
    study = finish(path, tmp_path / "runs", images=3, unfinished=unfinished)
    begun = tmp_path / "runs" / study.name / unfinished[0] / "20260101-000000-abcd"
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "config.yaml").touch()
    (begun / "checkpoints" / "last.ckpt").write_text("a checkpoint")
    summary = summarize_study(study, tmp_path / "runs")
    assert list(find_runs(study, tmp_path / "runs").missing) == [
        "pooling-improved_seed-0",
        "pooling-none_seed-1",
        "pooling-improved_seed-1",
    ]
    assert [len(row.runs) for row in rows_of(summary)] == [1, 2, 0]
    none, original, improved = rows_of(summary)
    assert (improved.mean, improved.difference, improved.difference_interval("miou")) == (None, None, None)
    assert original.difference == pytest.approx(np.mean(mious(tmp_path / "runs", "original")) - none.mean)
    text = "\n".join(summary.warnings)
    assert f"{unfinished[0]} (interrupted, resumes from its checkpoint)" in text
    assert f"{unfinished[1]} (not started)" in text
    assert any("different numbers of finished seeds" in line for line in notes(summary))


def test_nothing_finished_is_an_error(tmp_path):
    study = load_study(write_study(tmp_path))
    with pytest.raises(UserError, match=rf"none of its 6 cells.*{tmp_path}/nowhere/pooling_study"):
        summarize_study(study, tmp_path / "nowhere")


def test_deviating_runs_are_listed(tmp_path):
    study = finish(write_study(tmp_path), tmp_path / "runs", images=3)
    assert find_runs(study, tmp_path / "runs").deviations == {}
    for path in (tmp_path / "runs" / study.name).glob("*/*/config.yaml"):
        path.write_text(path.read_text().replace("class_path: Data", "class_path: Other"))
    config = next((tmp_path / "runs" / study.name / "pooling-original_seed-1").rglob("config.yaml"))
    config.write_text(config.read_text().replace("pooling: original", "pooling: improved"))
    assert find_runs(study, tmp_path / "runs").warnings[1:] == [
        "Differs from the study in all 6 finished cells: "
        "data.class_path is 'Other' in the run and 'Data' in the study.",
        "Differs from the study in pooling-original_seed-1: "
        "model.network.init_args.pooling is 'improved' in the run and 'original' in the study.",
    ]


def test_evaluated_row_shares_training_costs(tmp_path):
    path = write_study(tmp_path, factors={"test": INFERENCE}, seeds=[0])
    study = finish(path, tmp_path / "runs", images=3)
    config = next((tmp_path / "runs" / study.name).glob("test-flipped_seed-0/*-validate/config.yaml"))
    # As `validate` saves it: without a logger, and without the pre-trained weights that its checkpoint replaces.
    content = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(content | {"trainer": {"logger": False}}))
    summary = summarize_study(study, tmp_path / "runs")
    whole, flipped = rows_of(summary)
    assert flipped.runs[0].training == whole.runs[0].folder
    assert flipped.costs.training_time == whole.costs.training_time == 3600
    assert flipped.curves == whole.curves
    assert flipped.costs.latency != whole.costs.latency
    assert any("share their trainings" in line and "whole, flipped" in line for line in notes(summary))


def test_other_images_are_refused(finished, tmp_path):
    shutil.copytree(finished[1], tmp_path / "runs")
    other = folders(tmp_path / "runs", "improved")[1] / "per_image.npz"
    images = ImageMatrices(CLASSES)
    images.add("another", np.eye(3, dtype=np.int64))
    images.save(other)
    with pytest.raises(UserError, match=r"pooling-none_seed-0[\s\S]*pooling-improved_seed-1[\s\S]*in only one run"):
        summarize_study(load_study(finished[0]), tmp_path / "runs")


def test_published_value_of_its_row_only(tmp_path):
    published = [{"levels": {"pooling": "original"}, "value": 40.5, "source": "A paper", "evidence": "read"}]
    study = finish(write_study(tmp_path, published=published), tmp_path / "runs", images=3)
    rows = rows_of(summarize_study(study, tmp_path / "runs"))
    assert [row.published and row.published.value for row in rows] == [None, 40.5, None]


def test_datasets_are_compared_separately(tmp_path):
    path = write_study(tmp_path, datasets=["camvid", "voc"])
    study = finish(path, tmp_path / "runs", images=5)
    summary = summarize_study(study, tmp_path / "runs")
    assert [(dataset.name, dataset.images) for dataset in summary.datasets] == [("camvid", 5), ("voc", 6)]
    for dataset in summary.datasets:
        base, _, improved = dataset.rows
        folder = tmp_path / "runs" / study.name
        means = []
        for row in ("none", "improved"):
            files = folder.glob(f"{dataset.name}_pooling-{row}_seed-*/*/results.json")
            means.append(np.mean([json.loads(file.read_text())["miou"] for file in files]))
        assert [base.mean, improved.mean] == pytest.approx(means)
        assert improved.difference == pytest.approx(means[1] - means[0])
        assert improved.compared is not None
        assert improved.compared.a.images == dataset.images
    assert not summary.incomplete


def test_missing_dataset_is_a_warning(tmp_path):
    path = write_study(tmp_path, datasets=["camvid", "voc"])
    unfinished = [cell.name for cell in load_study(path).cells if cell.dataset == "voc"]
    study = finish(path, tmp_path / "runs", images=3, unfinished=unfinished)
    summary = summarize_study(study, tmp_path / "runs")
    assert [dataset.name for dataset in summary.datasets] == ["camvid"]
    assert summary.warnings[0] == "Missing dataset: voc (0 of 6 cells finished)."
    assert summary.incomplete


def test_committed_studies_are_readable():
    root = Path(__file__).parents[1]
    for folder in sorted((root / "results" / "studies").iterdir()):
        study = load_study(root / "experiments" / "studies" / f"{folder.name}.yaml")
        summary = summarize_study(study, folder.parent)
        assert not summary.incomplete
        with (folder / "report" / "report.csv").open(newline="") as file:
            expected = [float(line["mean"]) for line in csv.DictReader(file)]
        assert [row.mean for row in summary.datasets[0].rows] == expected


def test_last_validation_beside_the_best(tmp_path):
    study = finish(write_study(tmp_path), tmp_path / "runs")
    for cell in study.cells:
        run = cell_folder(tmp_path / "runs", study, cell).finished
        assert run is not None
        best = run.read_results()["miou"]
        write_metrics(run.metrics, [(99, 0.1), (199, best), (299, best - 0.01 * (1 + cell.seed))])
    summary = summarize_study(study, tmp_path / "runs")
    for row in summary.datasets[0].rows:
        assert row.mean is not None
        assert row.last_validation == pytest.approx(row.mean - 0.015)
    text = markdown(assemble(summary))
    assert "It is 1.50 points above the last one, on average over 6 trainings." in text


def test_half_of_the_images_selects(tmp_path):
    study = load_study(write_study(tmp_path, select="half"))
    assert all(cell.config["data"]["init_args"]["select_half"] for cell in study.cells)
    text = markdown(assemble(summarize_study(finish(study.path, tmp_path / "runs"), tmp_path / "runs")))
    assert "Checkpoints were chosen on one half of the validation images." in text
    assert "which makes figures too high" not in text
