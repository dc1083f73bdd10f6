"""The page of a study, opened in Chromium from its file: a real little study, whose predictions are slid over."""

import base64
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import tiny_study
from helpers.browser import chromium, clip, column, heading, numbers, source
from helpers.commands import refinenet
from helpers.fake_data import make_camvid
from helpers.fake_study import finish, write_study
from helpers.tiny_fit import count_by_hand
from helpers.tiny_study import POOLING
from PIL import Image
from refinenet_pl.reports.viewer import image_miou, most_different
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.reports.page import page
from refinenet_pl.reports.report import report
from refinenet_pl.reports.summary import summarize_study
from refinenet_pl.studies.commands import REFINENET, trainings
from refinenet_pl.studies.loading import load_study

TITLE = 'Once & twice </script><script>document.title = "broken"</script>'
ROWS = ["none · once", "original · once", "original · mirrored"]
FACTORS = {"pooling": POOLING, "test": {"once": {}, "mirrored": {"model.inference": {"scales": [1.0], "flip": True}}}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The runs of a finished study, reported: two trainings, of which one is evaluated in two ways."""
    folder = tmp_path_factory.mktemp("study")
    make_camvid(folder / "camvid", val=6)
    rows = [dict(zip(FACTORS, row.split(" · "), strict=True)) for row in ROWS]
    path = tiny_study.write_study(folder, title=TITLE, factors=FACTORS, rows=rows)
    with pytest.MonkeyPatch.context() as patch:
        for training in trainings(load_study(path), folder / "runs", []):
            for cell in training.cells:
                assert refinenet(patch, *training.command(cell)[len(REFINENET) :]) == 0
    report(path, folder / "runs")
    return folder / "runs" / "tiny"


@pytest.fixture(scope="module")
def content(runs) -> dict:
    """What the page's script reads."""
    text = (runs / "report" / "report.html").read_text()
    return json.loads(re.findall(r'<script id="content"[^>]*>(.*?)</script>', text, re.DOTALL)[0])


@pytest.fixture(scope="module")
def opened(runs, tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.get((runs / "report" / "report.html").as_uri())
        yield browser


@pytest.fixture
def browser(opened):
    """The page as it is when it is opened."""
    opened.get(opened.current_url)
    return opened


def matrices(runs: Path, row: str) -> ImageMatrices:
    pooling, test = row.split(" · ")
    return ImageMatrices.load(next(runs.glob(f"pooling-{pooling}_test-{test}_seed-0/*/per_image.npz")))


def iou(runs: Path, row: str) -> np.ndarray:
    total = matrices(runs, row).total()
    return 100 * total.diagonal() / (total.sum(0) + total.sum(1) - total.diagonal())


def decoded(url: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))


def levels(browser) -> list[str]:
    return [" · ".join(pair) for pair in zip(column(browser, "rows", 1), column(browser, "rows", 2), strict=True)]


def test_the_predictions_in_the_page_are_those_that_were_scored_image_by_image_and_row_by_row(runs, content):
    shown = content["pictures"]["images"]
    assert sorted(image["name"] for image in shown) == [f"val_{index}" for index in range(6)]
    for place, row in enumerate(ROWS):
        scored = matrices(runs, row)
        hits, true, predicted = scored.correct_pixels(), scored.target_pixels(), scored.predicted_pixels()
        for image in shown:
            matrix = count_by_hand([(decoded(image["masks"][place]), decoded(image["truth"]))], 11)
            index = scored.names.index(image["name"])
            np.testing.assert_array_equal(matrix.diagonal(), hits[index])
            np.testing.assert_array_equal(matrix.sum(1), true[index])
            np.testing.assert_array_equal(matrix.sum(0), predicted[index])


def test_real_runs_are_configured_as_their_study_says_whether_trained_or_only_evaluated(content):
    expected = ["All 3 cells have finished.", "Every finished run was configured as the study says."]
    assert (content["warnings"], content["incomplete"]) == (expected, False)


def test_images_are_chosen_where_the_rows_spread_most(runs, content):
    miou = []
    for image in content["pictures"]["images"]:
        of_rows = []
        for mask in image["masks"]:
            matrix = count_by_hand([(decoded(mask), decoded(image["truth"]))], 11)
            there = matrix.sum(1) > 0
            hits = matrix.diagonal()
            of_rows.append(np.mean((hits / (matrix.sum(0) + matrix.sum(1) - hits))[there]))
        miou.append(of_rows)
    np.testing.assert_allclose(content["pictures"]["miou"], miou)
    spread = np.ptp(miou, axis=1)
    assert (np.diff(spread) <= 1e-12).all()


def test_an_image_without_truth_is_not_chosen():
    images = ImageMatrices(["a", "b"])
    images.add("0", np.zeros((2, 2), int))
    images.add("1", np.array([[3, 1], [0, 0]]))
    np.testing.assert_allclose(image_miou(images), [np.nan, 0.75])
    assert most_different(np.array([[np.nan, np.nan], [0.1, 0.2], [0.1, 0.9]])).tolist() == [2, 1]


def test_nothing_but_the_file_is_asked_for_and_the_console_is_empty(runs, opened):
    file = runs / "report" / "report.html"
    opened.get_log("performance")  # what the browser asked for when it started
    opened.get(file.as_uri())
    messages = [json.loads(line["message"])["message"] for line in opened.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert asked
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert {url for url in asked if url.startswith("file")} == {(runs / "report" / "report.html").as_uri()}
    assert opened.get_log("browser") == []
    assert not re.search(
        r"https?:", (runs / "report" / "report.html").read_text().replace("http://www.w3.org/2000/svg", "")
    )


def test_a_title_that_ends_the_script_is_only_words(browser):
    assert browser.title == TITLE
    assert browser.find_element(By.TAG_NAME, "h1").text == TITLE
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2


def test_a_click_on_a_heading_sorts_the_rows_and_another_turns_them_round(runs, browser):
    figures = {row: iou(runs, row)[~np.isnan(iou(runs, row))].mean() for row in ROWS}
    best_first = [ROWS[i] for i in np.argsort([-figures[row] for row in ROWS], kind="stable")]
    assert [
        " · ".join(pair) for pair in zip(column(browser, "rows", 1), column(browser, "rows", 2), strict=True)
    ] == ROWS
    head = heading(browser, "rows", "mean IoU %")
    head.click()
    assert levels(browser) == best_first
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    browser.execute_script("arguments[0].focus()", head)
    head.send_keys(Keys.ENTER)
    assert numbers(column(browser, "rows", 3)) == pytest.approx(sorted(figures.values()), abs=0.006)
    assert head.find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"


def test_classes_of_the_two_chosen_rows_are_compared_and_sorted_by_their_difference(runs, browser):
    Select(browser.find_element(By.ID, "a")).select_by_visible_text(ROWS[2])
    Select(browser.find_element(By.ID, "b")).select_by_visible_text(ROWS[0])
    heading(browser, "classes", "B − A, points").click()
    names, a, b, difference = (column(browser, "classes", place) for place in (1, 2, 3, 4))
    known = matrices(runs, ROWS[0]).class_names
    order = [known.index(name) for name in names]
    assert sorted(order) == list(range(11))
    of_a, of_b = iou(runs, ROWS[2])[order], iou(runs, ROWS[0])[order]
    np.testing.assert_allclose(numbers(a), of_a, atol=0.006)
    np.testing.assert_allclose(numbers(b), of_b, atol=0.006)
    np.testing.assert_allclose(numbers(difference), of_b - of_a, atol=0.006)
    assert (np.diff(of_b - of_a) <= 1e-9).all()
    intervals = column(browser, "classes", 5)
    for value, interval, marked in zip(of_b - of_a, intervals, difference, strict=True):
        low, high = numbers(interval.split(" to "))
        assert low - 0.006 <= value <= high + 0.006
        assert marked.endswith("*") == (low > 0 or high < 0)
    browser.find_element(By.ID, "swap").click()
    assert numbers(column(browser, "classes", 4)) == pytest.approx(sorted(of_a - of_b, reverse=True), abs=0.006)


def test_images_stand_in_the_order_in_which_a_and_b_differ_with_both_figures(runs, browser):
    first, second = ROWS[1], ROWS[2]
    Select(browser.find_element(By.ID, "a")).select_by_visible_text(first)
    Select(browser.find_element(By.ID, "b")).select_by_visible_text(second)
    of_a, of_b = (100 * image_miou(matrices(runs, row)) for row in (first, second))
    shown = [button.text.split() for button in browser.find_elements(By.CSS_SELECTOR, "#images button")]
    indices = [matrices(runs, first).names.index(words[0]) for words in shown]
    differences = np.abs(of_b - of_a)[indices]
    assert sorted(indices) == list(range(6))
    assert (np.diff(differences) <= 1e-9).all()
    for index, (_, a, _, b, difference) in zip(indices, shown, strict=True):
        assert numbers([a, b, difference]) == pytest.approx([of_a[index], of_b[index], (of_b - of_a)[index]], abs=0.006)


def test_the_slider_moves_where_a_ends_and_b_begins_by_keyboard_and_by_mouse(browser):
    slide, stage = browser.find_element(By.ID, "slide"), browser.find_element(By.ID, "stage")
    assert (clip(browser, "mask-a"), clip(browser, "mask-b")) == ([50], [50])
    slide.send_keys(Keys.ARROW_RIGHT)
    assert (clip(browser, "mask-a"), clip(browser, "mask-b")) == ([49.5], [50.5])
    slide.send_keys(Keys.HOME)
    assert clip(browser, "mask-a") == [100]  # of which nothing is left
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", stage)
    x, y = box["x"] + 0.8 * box["width"], box["y"] + 0.3 * box["height"]
    for kind in ("mousePressed", "mouseReleased"):
        event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)
    assert clip(browser, "mask-a") == pytest.approx([20], abs=0.6)
    assert clip(browser, "mask-b") == pytest.approx([80], abs=0.6)
    assert browser.find_element(By.ID, "line").location["x"] == pytest.approx(x, abs=box["width"] / 100)


def test_another_image_the_truth_and_the_opacity_are_chosen(browser, content):
    by_name = {image["name"]: image for image in content["pictures"]["images"]}
    third = browser.find_elements(By.CSS_SELECTOR, "#images button")[2]
    third.click()
    picture = by_name[third.text.split()[0]]
    assert [source(browser, name) for name in ("image", "mask-a", "mask-b")] == [
        picture["image"],
        *picture["masks"][:2],
    ]
    assert third.get_attribute("aria-pressed") == "true"
    browser.find_element(By.ID, "truth").click()
    assert source(browser, "mask-b") == picture["truth"]
    browser.find_element(By.ID, "opacity").send_keys(Keys.END)
    assert browser.find_element(By.ID, "mask-a").value_of_css_property("opacity") == "1"
    browser.find_element(By.ID, "next").click()
    assert browser.find_elements(By.CSS_SELECTOR, "#images button")[3].get_attribute("aria-pressed") == "true"


def test_every_control_has_a_name_and_the_page_fits_a_narrow_window(browser, tmp_path):
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


def test_without_predictions_the_page_says_why_and_compares_all_the_same(tmp_path):
    path = write_study(tmp_path)
    summary = summarize_study(finish(path, tmp_path / "runs", images=4), tmp_path / "runs")
    (tmp_path / "page.html").write_text(page(summary, [], "the data are <gone>"))
    with chromium(tmp_path / "profile") as browser:
        browser.get((tmp_path / "page.html").as_uri())
        assert browser.find_element(By.ID, "refusal").text == "No predictions are shown: the data are <gone>"
        assert not browser.find_element(By.ID, "pictures").is_displayed()
        assert column(browser, "classes", 1) == ["road", "car", "traffic light"]
        assert column(browser, "classes", 4)[2] == "–"
        assert browser.get_log("browser") == []


def test_a_second_report_predicts_nothing_again_and_a_lost_checkpoint_is_named(runs, capsys):
    study = runs.parent.parent / "tiny.yaml"
    masks = sorted(runs.glob("*/*/predictions/*.png"))
    written = [path.stat().st_mtime_ns for path in masks]
    report(study, runs.parent, runs / "again")
    assert [path.stat().st_mtime_ns for path in masks] == written
    assert len(masks) == 3 * 6 * 2  # masks and overlays
    moved = next(runs.glob("pooling-original_test-once_seed-0/*/checkpoints/best.ckpt"))
    lost = next(runs.glob("pooling-original_test-mirrored_seed-0/*/predictions/val_0.png"))
    for path in (moved, lost):
        path.rename(path.with_suffix(".away"))
    try:
        report(study, runs.parent, runs / "again")
    finally:
        for path in (moved, lost):
            path.with_suffix(".away").rename(path)
    printed = capsys.readouterr().out
    assert "the page shows no predictions" in printed
    assert str(moved) in printed
