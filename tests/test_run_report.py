"""`refinenet report` on real runs: values against results.json and `compare`, and the page in Chromium."""

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.browser import chromium, column, numbers, source
from helpers.commands import only_run, refinenet
from helpers.page import content_of, decoded
from helpers.tiny_fit import count_by_hand
from selenium.webdriver.common.by import By

from refinenet_pl.evaluation.per_image import ImageMatrices

ROWS = ["pooling original, flip false", "pooling none, flip false", "pooling original, flip true"]


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def results(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "results.json").read_text())
    return content


@pytest.fixture(scope="module")
def others(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Another seed of `trained_run` with another number of workers, another pooling, and flips in the evaluation."""
    folder = tmp_path_factory.mktemp("others")
    again = ["fit", f"--config={trained_run}/config.yaml", "--trainer.enable_progress_bar=false"]
    flipped = ["validate", f"--ckpt_path={trained_run}", "--model.inference.flip=true"]
    commands = {
        "seed": [*again, "--seed_everything=7", "--data.num_workers=1"],
        "pooling": [*again, "--model.network.pooling=null"],
        "flip": [*flipped, "--trainer.accelerator=cpu"],
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, words in commands.items():
            assert refinenet(patch, *words, f"--runs={folder / name}", f"--experiment={name}") == 0
    return {name: only_run(folder / name) for name in commands}


@pytest.fixture(scope="module")
def alone(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of `trained_run`."""
    folder, before = tmp_path_factory.mktemp("alone"), hashes(trained_run)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert refinenet(patch, "report", trained_run) == 0
    assert hashes(trained_run) == before
    return folder / "report"


@pytest.fixture(scope="module")
def several(trained_run: Path, others: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of two seeds of a row, and of two other rows."""
    output = tmp_path_factory.mktemp("several") / "report"
    with pytest.MonkeyPatch.context() as patch:
        runs = [others["seed"], trained_run, others["pooling"], others["flip"]]
        assert refinenet(patch, "report", *runs, "--output", output) == 0
    return output


def test_values_of_one_run_are_its_results(trained_run, alone):
    found = results(trained_run)
    (row,) = csv.DictReader((alone / "report.csv").open(newline=""))
    assert float(row["mean"]) == found["miou"]
    assert [float(row["low"]), float(row["high"])] == pytest.approx(found["intervals"]["miou"])
    for name, iou in found["per_class_iou"].items():
        assert row[f"iou {name}"] == ("" if iou is None else str(iou))
    for part, loss in found["error_parts"]["mean"].items():
        assert float(row[f"errors {part}"]) == pytest.approx(loss)
    assert (row["run"], row["seeds"], row["difference"]) == ("fake", "0", "")
    text = (alone / "report.md").read_text()
    assert text.startswith("# fake: 1 run\n\nMean IoU in percent: seed 0 only, on 3 validation images. Intervals: 95 %")
    assert str(trained_run) in text
    assert not re.search("difference|no stars", text, re.IGNORECASE)
    names = [*found["per_class_iou"], "mean IoU"]
    lines = [re.split(r" \| ", line[2:-2]) for line in text.splitlines() if line.startswith("| ")]
    for name, iou, interval in [line for line in lines if line[0] in names]:
        low, high = (found["intervals"]["per_class_iou"] | {"mean IoU": found["intervals"]["miou"]})[name]
        value = (found["per_class_iou"] | {"mean IoU": found["miou"]})[name]
        assert (iou, interval) == (f"{100 * value:.2f}", f"{100 * low:.2f} to {100 * high:.2f}")
    for plot in ("learning_curves", "error_parts", "confusion_matrices"):
        assert f"]({plot}.png)" in text
        assert (alone / f"{plot}.pdf").is_file()


def test_hardest_images_first_as_they_were_scored(trained_run, alone):
    content, images = content_of(alone / "report.html"), ImageMatrices.load(trained_run / "per_image.npz")
    mean_iou = dict(zip(images.names, images.mean_iou(), strict=True))
    assert [each["name"] for each in content["images"]["images"]] == sorted(mean_iou, key=lambda name: mean_iou[name])
    for each in content["images"]["images"]:
        (prediction,) = each["predictions"]
        matrix = count_by_hand([(decoded(prediction), decoded(each["target"]))], 11)
        index = images.names.index(each["name"])
        np.testing.assert_array_equal(matrix.diagonal(), images.correct_pixels()[index])
        np.testing.assert_array_equal(matrix.sum(0), images.predicted_pixels()[index])


def test_page_of_one_run(trained_run, alone, tmp_path):
    with chromium(tmp_path / "profile") as browser:
        browser.get((alone / "report.html").as_uri())
        found, content = results(trained_run), content_of(alone / "report.html")
        assert column(browser, "classes", 1) == [*found["per_class_iou"]]
        assert numbers(column(browser, "classes", 2)) == pytest.approx(
            [100 * iou for iou in found["per_class_iou"].values()], abs=0.006
        )
        footer = browser.find_elements(By.CSS_SELECTOR, "#classes tfoot td")
        assert footer[1].text == f"{100 * found['miou']:.2f}"
        shown = [browser.find_element(By.ID, name).is_displayed() for name in ("a", "b", "swap", "show-target")]
        assert shown == [False] * 4
        first = content["images"]["images"][0]
        assert source(browser, "mask-a") == first["predictions"][0]
        assert source(browser, "mask-b") == first["target"]
        assert browser.find_element(By.ID, "label-b").text == "target"
        buttons = browser.find_elements(By.CSS_SELECTOR, "#images button")
        assert numbers([button.text.split()[-1] for button in buttons]) == pytest.approx(
            [100 * value for (value,) in content["images"]["mean_iou"]], abs=0.006
        )
        assert browser.get_log("browser") == []


def test_rows_are_those_of_compare(trained_run, others, several, tmp_path, monkeypatch):
    base, *rows = csv.DictReader((several / "report.csv").open(newline=""))
    assert [row["run"] for row in (base, *rows)] == ROWS
    assert [row["seeds"] for row in (base, *rows)] == ["0, 7", "0", "0"]
    assert float(base["mean"]) == pytest.approx(
        np.mean([results(run)["miou"] for run in (trained_run, others["seed"])])
    )
    for row, run in zip(rows, (others["pooling"], others["flip"]), strict=True):
        sides = ["--a", trained_run, others["seed"], "--b", run]
        assert refinenet(monkeypatch, "compare", *sides, "--output", tmp_path / "compared.json") == 0
        compared = json.loads((tmp_path / "compared.json").read_text())
        for key, name in {"difference": "", **dict.fromkeys(compared["per_class_iou"])}.items():
            entry = compared["miou"] if key == "difference" else compared["per_class_iou"][key]
            columns = ["difference", "difference_low", "difference_high"]
            if name is None:
                columns = [f"{kind} {key}" for kind in ("difference", "low", "high")]
            expected = [entry["difference"], *(entry["interval"] or [None, None])]
            found = [float(row[each]) if row[each] else None for each in columns]
            assert found == pytest.approx(expected)
    assert float(rows[0]["mean"]) == results(others["pooling"])["miou"]


def test_predictions_are_kept_in_the_report(trained_run, others, several, monkeypatch, capsys):
    masks = sorted(several.glob("predictions/*/masks/val_?.png"))
    assert len(masks) == 9
    content = content_of(several / "report.html")
    assert content["rows"] == ROWS
    assert all(all(each["predictions"]) for each in content["images"]["images"])
    written = [path.stat().st_mtime_ns for path in masks]
    monkeypatch.setattr("subprocess.Popen", None)  # any process would fail
    assert refinenet(monkeypatch, "report", trained_run, others["flip"], "--output", several) == 0
    assert [path.stat().st_mtime_ns for path in masks] == written
    assert "missing" not in capsys.readouterr().out
    assert content_of(several / "report.html")["rows"] == ["flip false", "flip true"]


def test_same_seed_twice_is_two_rows_without_checkpoint(trained_run, tmp_path, monkeypatch, capsys):
    again = tmp_path / "fake" / "20990101-000000-abcd"
    shutil.copytree(trained_run, again, ignore=shutil.ignore_patterns("checkpoints"))
    config = yaml.safe_load((again / "config.yaml").read_text())
    config["data"]["init_args"] |= {"root": str(tmp_path / "nowhere"), "num_workers": 3}
    (again / "config.yaml").write_text(yaml.safe_dump(config))
    history = json.loads((again / "history.json").read_text())
    history["parts"][-1]["end"] = "max_time"
    (again / "history.json").write_text(json.dumps(history))
    assert refinenet(monkeypatch, "report", again, "--output", tmp_path / "alone") == 0
    printed = capsys.readouterr().out
    assert "3 predictions are missing (3 images, 1 checkpoint)." in printed
    assert f"{again}/checkpoints/best.ckpt: no such checkpoint" in printed
    assert f"{again}: the training reached max_time before its last step." in printed
    content = content_of(tmp_path / "alone" / "report.html")
    assert (content["images"], content["incomplete"]) == (None, True)
    assert "no such checkpoint" in content["message"]
    assert refinenet(monkeypatch, "report", again, trained_run, "--output", tmp_path / "both") == 0
    rows = [*csv.DictReader((tmp_path / "both" / "report.csv").open(newline=""))]
    assert [row["run"] for row in rows] == [f"fake/{again.name}", f"fake/{trained_run.name}"]
    assert [row["difference"] for row in rows] == ["", "0.0"]


@pytest.fixture
def damaged(trained_run, tmp_path):
    """A folder with a run of other targets, a run that is not finished, and a folder of somebody's files."""
    for name in ("unfinished", "targets"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        shutil.copy(trained_run / "config.yaml", tmp_path / "runs" / name)
    shutil.copy(trained_run / "results.json", tmp_path / "runs" / "targets")
    images = ImageMatrices.load(trained_run / "per_image.npz")
    other = ImageMatrices(images.class_names)
    for name in images.names:
        other.add(name, np.diag(range(11)))
    other.save(tmp_path / "runs" / "targets" / "per_image.npz")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.tex").write_text("my thesis")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: found no run; expected the folder of a run, such as runs/EXPERIMENT/TIME"),
        (["runs"], "runs: found no run, but 2 runs in this folder"),
        (["RUN/checkpoints/best.ckpt"], "best.ckpt: found no run; expected the folder of a run"),
        (["runs/unfinished"], "found no results.json, so the run is not finished"),
        (["RUN", "RUN"], "this run is given twice"),
        (["RUN", "runs/targets"], "the targets of 3 images differ between the runs"),
        (["RUN", "--output", "mine"], "mine: holds other files than a report of this command"),
        (["RUN", "--output", "runs/targets/report"], "a finished run is not changed; choose another --output"),
        (["RUN", "--output", "mine/report.tex/x"], "x: cannot write into this folder (mine/report.tex is a file)"),
        ([], "no value for runs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_folders(words, message, trained_run, damaged, monkeypatch, capsys):
    before = hashes(damaged)
    monkeypatch.chdir(damaged)
    assert refinenet(monkeypatch, "report", *(word.replace("RUN", str(trained_run)) for word in words)) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert hashes(damaged) == before
