"""The page of a small real study, opened in Chromium."""

import csv
import json
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import tiny_study
from helpers.browser import chromium, clip, column, heading, numbers, source
from helpers.commands import refinenet
from helpers.fake_data import make_camvid
from helpers.fake_study import CLASSES, finish, write_study
from helpers.page import content_of, decoded
from helpers.tiny_fit import count_by_hand
from helpers.tiny_study import POOLING
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.ceiling import limit_counts, limit_iou
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.reports.assemble import assemble
from refinenet_pl.reports.page import page
from refinenet_pl.reports.page_images import most_telling
from refinenet_pl.reports.pictures import make_pictures
from refinenet_pl.reports.report import report
from refinenet_pl.reports.study_summary import summarize_study
from refinenet_pl.studies.commands import REFINENET, cell_groups
from refinenet_pl.studies.loading import load_study

TITLE = 'Once & twice </script><script>document.title = "broken"</script>'
ROWS = ["none · once", "original · once", "original · flipped"]
FACTORS = {"pooling": POOLING, "test": {"once": {}, "flipped": {"model.inference": {"scales": [1.0], "flip": True}}}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Runs of a finished study with pictures and report: two trainings, one of them evaluated in two ways."""
    folder = tmp_path_factory.mktemp("study")
    make_camvid(folder / "camvid", val=6)
    rows = [dict(zip(FACTORS, row.split(" · "), strict=True)) for row in ROWS]
    path = tiny_study.write_study(folder, title=TITLE, factors=FACTORS, rows=rows)
    with pytest.MonkeyPatch.context() as patch:
        for group in cell_groups(load_study(path), folder / "runs", {}):
            for cell in group.cells:
                assert refinenet(patch, *group.command(cell)[len(REFINENET) :]) == 0
    make_pictures(path, folder / "runs")
    report(path, folder / "runs")
    return folder / "runs" / "tiny"


@pytest.fixture(scope="module")
def content(runs) -> dict:
    """Content of the page's script, and of its one dataset."""
    return content_of(runs / "report" / "report.html")


@pytest.fixture(scope="module")
def opened(runs, tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.get((runs / "report" / "report.html").as_uri())
        yield browser


@pytest.fixture
def browser(opened):
    """The page, loaded anew for each test."""
    opened.get(opened.current_url)
    return opened


def matrices(runs: Path, row: str) -> ImageMatrices:
    pooling, test = row.split(" · ")
    return ImageMatrices.load(next(runs.glob(f"pooling-{pooling}_test-{test}_seed-0/*/per_image.npz")))


def iou(runs: Path, row: str) -> np.ndarray:
    total = matrices(runs, row).total()
    return 100 * total.diagonal() / (total.sum(0) + total.sum(1) - total.diagonal())


def targets(content: dict) -> list[torch.Tensor]:
    """Return the targets of the page's images, which are all of the split."""
    return [torch.from_numpy(decoded(image["target"])) for image in content["images"]["images"]]


def levels(browser) -> list[str]:
    return [" · ".join(pair) for pair in zip(column(browser, "rows", 1), column(browser, "rows", 2), strict=True)]


def test_page_shows_scored_predictions(runs, content):
    shown = content["images"]["images"]
    assert sorted(image["name"] for image in shown) == [f"val_{index}" for index in range(6)]
    for place, row in enumerate(ROWS):
        scored = matrices(runs, row)
        correct, target, predicted = scored.correct_pixels(), scored.target_pixels(), scored.predicted_pixels()
        for image in shown:
            matrix = count_by_hand([(decoded(image["predictions"][place]), decoded(image["target"]))], 11)
            index = scored.names.index(image["name"])
            np.testing.assert_array_equal(matrix.diagonal(), correct[index])
            np.testing.assert_array_equal(matrix.sum(1), target[index])
            np.testing.assert_array_equal(matrix.sum(0), predicted[index])


def test_real_runs_match_their_study(content):
    expected = ["All 3 cells have finished.", "All finished runs have the configuration of the study."]
    assert (content["warnings"], content["incomplete"]) == (expected, False)


def test_most_different_images_first(runs, content):
    miou = []
    for image in content["images"]["images"]:
        row_values = []
        for mask in image["predictions"]:
            matrix = count_by_hand([(decoded(mask), decoded(image["target"]))], 11)
            present = matrix.sum(1) > 0
            correct = matrix.diagonal()
            row_values.append(np.mean((correct / (matrix.sum(0) + matrix.sum(1) - correct))[present]))
        miou.append(row_values)
    np.testing.assert_allclose(content["images"]["mean_iou"], miou)
    spread = np.ptp(miou, axis=1)
    assert (np.diff(spread) <= 1e-12).all()


def test_ignored_images_are_left_out():
    images = ImageMatrices(["a", "b"])
    images.add("0", np.zeros((2, 2), int))
    images.add("1", np.array([[3, 1], [0, 0]]))
    np.testing.assert_allclose(images.mean_iou(), [np.nan, 0.75])
    assert most_telling(np.array([[np.nan, np.nan], [0.1, 0.2], [0.1, 0.9]])).tolist() == [2, 1]
    assert most_telling(np.array([[np.nan], [0.3], [0.1], [0.2]])).tolist() == [2, 3, 1], "of one row, the lowest first"


def test_page_needs_no_other_files(runs, opened):
    file = runs / "report" / "report.html"
    opened.get_log("performance")  # requests of the browser's start
    opened.get(file.as_uri())
    messages = [json.loads(line["message"])["message"] for line in opened.get_log("performance")]
    urls = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert urls
    assert {url.split(":")[0] for url in urls} <= {"file", "data"}
    assert {url for url in urls if url.startswith("file")} == {(runs / "report" / "report.html").as_uri()}
    assert opened.get_log("browser") == []
    assert not re.search(
        r"https?:", (runs / "report" / "report.html").read_text().replace("http://www.w3.org/2000/svg", "")
    )


def test_title_is_escaped(browser):
    assert browser.title == TITLE
    assert browser.find_element(By.TAG_NAME, "h1").text == TITLE
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2


def test_headings_sort_rows(runs, browser):
    means = {row: iou(runs, row)[~np.isnan(iou(runs, row))].mean() for row in ROWS}
    best_first = [ROWS[i] for i in np.argsort([-means[row] for row in ROWS], kind="stable")]
    assert [
        " · ".join(pair) for pair in zip(column(browser, "rows", 1), column(browser, "rows", 2), strict=True)
    ] == ROWS
    head = heading(browser, "rows", "mean IoU %")
    head.click()
    assert levels(browser) == best_first
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    browser.execute_script("arguments[0].focus()", head)
    head.send_keys(Keys.ENTER)
    assert numbers(column(browser, "rows", 3)) == pytest.approx(sorted(means.values()), abs=0.006)
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"


def test_classes_of_two_rows(runs, content, browser):
    Select(browser.find_element(By.ID, "a")).select_by_visible_text(ROWS[2])
    Select(browser.find_element(By.ID, "b")).select_by_visible_text(ROWS[0])
    heading(browser, "classes", "B − A, points").click()
    names, at_stride, _, a, b, difference = (column(browser, "classes", place) for place in range(1, 7))
    class_names = matrices(runs, ROWS[0]).class_names
    order = [class_names.index(name) for name in names]
    assert sorted(order) == list(range(11))
    iou_a, iou_b = iou(runs, ROWS[2])[order], iou(runs, ROWS[0])[order]
    np.testing.assert_allclose(numbers(a), iou_a, atol=0.006)
    np.testing.assert_allclose(numbers(b), iou_b, atol=0.006)
    np.testing.assert_allclose(numbers(difference), iou_b - iou_a, atol=0.006)
    assert (np.diff(iou_b - iou_a) <= 1e-9).all()
    ceilings = limit_iou(torch.stack([limit_counts(target, 11) for target in targets(content)]).sum(0))["stride 4"]
    assert numbers(at_stride) == pytest.approx((100 * ceilings[order]).tolist(), abs=0.006)
    intervals = column(browser, "classes", 7)
    for value, interval in zip(iou_b - iou_a, intervals, strict=True):
        low, high = numbers(interval.split(" to "))
        assert low - 0.006 <= value <= high + 0.006
    assert not any("*" in cell for cell in difference), "one seed a row"
    assert browser.find_element(By.ID, "covered").text.startswith("One seed a row: intervals are over images alone")
    browser.find_element(By.ID, "swap").click()
    assert numbers(column(browser, "classes", 6)) == pytest.approx(sorted(iou_a - iou_b, reverse=True), abs=0.006)


def test_parts_of_errors_sum_to_what_is_missing(runs, browser):
    assert column(browser, "errors", 1) == ROWS
    parts = [[float(cell.split()[0]) for cell in column(browser, "errors", place)] for place in range(2, 6)]
    for row, total in zip(ROWS, np.sum(parts, axis=0), strict=True):
        values = iou(runs, row)
        assert total == pytest.approx(100 - values[~np.isnan(values)].mean(), abs=0.03)


def test_receptive_fields_of_trained_networks(runs, content):
    captions = [plot["caption"] for plot in content["plots"]]
    assert any(caption.startswith("Effective receptive field of each row") for caption in captions)
    for row in csv.DictReader((runs / "report" / "report.csv").open()):
        half, most = (float(row[f"receptive field {share} %"]) for share in (50, 90))
        assert 0 < half < most <= float(row["receptive field reach"])


def test_images_sorted_by_difference(runs, browser):
    first, second = ROWS[1], ROWS[2]
    Select(browser.find_element(By.ID, "a")).select_by_visible_text(first)
    Select(browser.find_element(By.ID, "b")).select_by_visible_text(second)
    iou_a, iou_b = (100 * matrices(runs, row).mean_iou() for row in (first, second))
    shown = [button.text.split() for button in browser.find_elements(By.CSS_SELECTOR, "#images button")]
    indices = [matrices(runs, first).names.index(words[0]) for words in shown]
    differences = np.abs(iou_b - iou_a)[indices]
    assert sorted(indices) == list(range(6))
    assert (np.diff(differences) <= 1e-9).all()
    for index, (_, a, _, b, difference) in zip(indices, shown, strict=True):
        assert numbers([a, b, difference]) == pytest.approx(
            [iou_a[index], iou_b[index], (iou_b - iou_a)[index]], abs=0.006
        )


def test_slider_moves_boundary(browser):
    split, stage = browser.find_element(By.ID, "split"), browser.find_element(By.ID, "stage")
    assert (clip(browser, "mask-a"), clip(browser, "mask-b")) == ([50], [50])
    split.send_keys(Keys.ARROW_RIGHT)
    assert (clip(browser, "mask-a"), clip(browser, "mask-b")) == ([49.5], [50.5])
    split.send_keys(Keys.HOME)
    assert clip(browser, "mask-a") == [100]  # all of it is hidden
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", stage)
    x, y = box["x"] + 0.8 * box["width"], box["y"] + 0.3 * box["height"]
    for kind in ("mousePressed", "mouseReleased"):
        event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)
    assert clip(browser, "mask-a") == pytest.approx([20], abs=0.6)
    assert clip(browser, "mask-b") == pytest.approx([80], abs=0.6)
    assert browser.find_element(By.ID, "boundary").location["x"] == pytest.approx(x, abs=box["width"] / 100)


def test_image_target_and_opacity(browser, content):
    by_name = {image["name"]: image for image in content["images"]["images"]}
    third = browser.find_elements(By.CSS_SELECTOR, "#images button")[2]
    third.click()
    picture = by_name[third.text.split()[0]]
    assert [source(browser, name) for name in ("image", "mask-a", "mask-b")] == [
        picture["image"],
        *picture["predictions"][:2],
    ]
    assert third.get_attribute("aria-pressed") == "true"
    label_a, label_b = (browser.find_element(By.ID, name).rect for name in ("label-a", "label-b"))
    assert label_a["x"] + label_a["width"] < label_b["x"]
    browser.find_element(By.ID, "show-target").click()
    assert source(browser, "mask-b") == picture["target"]
    browser.find_element(By.ID, "opacity").send_keys(Keys.END)
    assert browser.find_element(By.ID, "mask-a").value_of_css_property("opacity") == "1"
    browser.find_element(By.ID, "next").click()
    assert browser.find_elements(By.CSS_SELECTOR, "#images button")[3].get_attribute("aria-pressed") == "true"


def test_accessible_and_narrow(browser, tmp_path):
    for control in browser.find_elements(By.CSS_SELECTOR, "input, select, button"):
        assert control.accessible_name
    artifacts = Path(os.environ.get("REFINENET_ARTIFACTS", tmp_path))
    artifacts.mkdir(parents=True, exist_ok=True)
    for name, width in {"wide": 1400, "narrow": 400}.items():
        metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.save_screenshot(str(artifacts / f"study_page_{name}.png"))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def shows(browser: WebDriver, script: str, expected: list[str]) -> bool:
    return browser.execute_script(script) == expected


def test_plots_follow_width_and_dark_mode(browser, content):
    shown = "return [...document.querySelectorAll('#plots img')].map(image => image.currentSrc)"
    waiting = WebDriverWait(browser, 20)  # browsers load another form of a picture in their own time
    for form, width, theme, media in (
        ("light", 1400, "light", "screen"),
        ("dark", 1400, "dark", "screen"),
        ("light narrow", 400, "light", "screen"),
        ("dark narrow", 400, "dark", "screen"),
        ("light", 400, "dark", "print"),
    ):
        metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        expected = [plot["images"].get(form, plot["images"][form.split()[0]]) for plot in content["plots"]]
        waiting.until(partial(shows, script=shown, expected=expected), form)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_datasets_without_predictions(tmp_path):
    path = write_study(tmp_path, datasets=["camvid", "voc"])
    study = finish(path, tmp_path / "runs", images=4)
    assembled = assemble(summarize_study(study, tmp_path / "runs"))
    (tmp_path / "page.html").write_text(page(assembled))
    with chromium(tmp_path / "profile") as browser:
        browser.get((tmp_path / "page.html").as_uri())
        message = browser.find_element(By.ID, "message").text
        assert message.startswith("12 predictions are missing (4 images, 3 checkpoints)")
        assert f"refinenet study pictures {path} --runs {tmp_path}/runs" in message
        assert not browser.find_element(By.ID, "viewer").is_displayed()
        assert column(browser, "classes", 1) == list(CLASSES)
        assert column(browser, "classes", 4)[2] == "–"
        groups = browser.find_elements(By.CSS_SELECTOR, "#rows th.group")
        assert [group.text for group in groups] == ["camvid", "voc", "All datasets"]
        assert column(browser, "costs", 1) == ["none", "original", "improved"]
        assert browser.find_element(By.ID, "dataset").accessible_name == "Dataset"
        Select(browser.find_element(By.ID, "b")).select_by_visible_text("improved")
        Select(browser.find_element(By.ID, "dataset")).select_by_visible_text("voc")
        assert Select(browser.find_element(By.ID, "b")).first_selected_option.text == "improved"
        assert browser.find_element(By.ID, "message").text.startswith("15 predictions are missing (5 images")
        first_class = assembled.datasets[1].comparison.iou[2][0]
        assert first_class is not None
        assert numbers(column(browser, "classes", 3)[:1]) == pytest.approx([100 * first_class], abs=0.006)
        assert browser.get_log("browser") == []
        artifacts = Path(os.environ.get("REFINENET_ARTIFACTS", tmp_path))
        browser.set_window_size(1400, 2600)
        assert browser.save_screenshot(str(artifacts / "study_page_datasets.png"))


def test_report_predicts_nothing(runs, capsys, monkeypatch):
    study = runs.parent.parent / "tiny.yaml"
    masks = sorted(runs.glob("*/*/predictions/masks/*.png"))
    assert len(masks) == 3 * 6
    written = [path.stat().st_mtime_ns for path in masks]
    make_pictures(study, runs.parent)
    assert "All predictions exist" in capsys.readouterr().out
    deleted = next(runs.glob("pooling-original_test-flipped_seed-0/*/predictions/masks/val_0.png"))
    deleted.rename(deleted.with_suffix(".away"))
    try:
        monkeypatch.setattr("subprocess.Popen", None)  # any process would fail
        report(study, runs.parent, runs / "again")
    finally:
        deleted.with_suffix(".away").rename(deleted)
    assert [path.stat().st_mtime_ns for path in masks] == written
    assert "1 prediction is missing (1 image, 1 checkpoint)" in capsys.readouterr().out
    assert '"predictions":["data:' in (runs / "again" / "report.html").read_text()


def test_pictures_print_costs_and_need_checkpoints(runs, capsys):
    study = runs.parent.parent / "tiny.yaml"
    mask = next(runs.glob("pooling-original_test-flipped_seed-0/*/predictions/masks/val_0.png"))
    content = mask.read_bytes()
    checkpoint = next(runs.glob("pooling-original_test-once_seed-0/*/checkpoints/best.ckpt"))
    mask.unlink()
    checkpoint.rename(checkpoint.with_suffix(".away"))
    try:
        with pytest.raises(UserError, match=re.escape(str(checkpoint))):
            make_pictures(study, runs.parent)
    finally:
        checkpoint.with_suffix(".away").rename(checkpoint)
    make_pictures(study, runs.parent)
    assert mask.read_bytes() == content
    assert "1 image x 1 row = 1 prediction, with 1 checkpoint;" in capsys.readouterr().out


def test_several_seeds_give_stars(tmp_path, browser):
    path = write_study(tmp_path, seeds=[0, 1, 2])
    finish(path, tmp_path / "runs", images=60)
    report(path, tmp_path / "runs", tmp_path / "report")
    browser.get((tmp_path / "report" / "report.html").as_uri())
    Select(browser.find_element(By.ID, "a")).select_by_visible_text("none")
    Select(browser.find_element(By.ID, "b")).select_by_visible_text("improved")
    cells, intervals = column(browser, "classes", 4), column(browser, "classes", 5)
    stars = [cell.endswith("*") for cell in cells]
    excluded = [
        low > 0 or high < 0 for low, high in (numbers(text.split(" to ")) for text in intervals if " to " in text)
    ]
    assert stars[: len(excluded)] == excluded
    assert any(stars)
    assert "Intervals are over seeds and images." in browser.find_element(By.ID, "covered").text
