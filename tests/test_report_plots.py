"""A study's plots: what is drawn, read back from the figures, and that it can be told apart."""

import io

import numpy as np
import pytest
from helpers.fake_study import finish, write_study
from matplotlib.colors import to_hex
from PIL import Image

from refinenet_pl.reports.plots import COLUMN, PAGE, encoded, plots
from refinenet_pl.reports.summary import summarize_study

SEVEN = ("none", "original", "improved", "wide", "one block", "two blocks", "four blocks")
NINETEEN = tuple(f"class {index}" for index in range(19))


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return summarize_study(finish(write_study(folder, SEVEN), folder / "runs", NINETEEN, images=5), folder / "runs")


@pytest.fixture(scope="module")
def drawn(summary):
    return plots(summary)


def test_curves_are_means_over_seeds_with_each_seed_as_a_thin_line(summary, drawn):
    (axes,) = drawn["learning_curves"][0].axes
    means = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(means) == list(SEVEN)
    for row in summary.rows:
        values = [list(curve.values()) for curve in row.curves.values()]
        np.testing.assert_allclose(
            means[row.label].get_xydata().T, [[100, 200, 300, 400], 100 * np.mean(values, axis=0)]
        )
    thin = [line for line in axes.lines if line.get_label().startswith("_")]
    assert len(thin) == 2 * len(SEVEN)
    assert max(line.get_linewidth() for line in thin) < min(line.get_linewidth() for line in means.values())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training step", "mean IoU, %")


def test_no_two_rows_share_color_marker_or_dashes(drawn):
    (axes,) = drawn["learning_curves"][0].axes
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    looks = [(to_hex(line.get_color()), line.get_marker(), str(line.get_linestyle())) for line in lines]
    assert len({color for color, _, _ in looks}) == len({marker for _, marker, _ in looks}) == len(SEVEN)
    okabe_ito = {"#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"}
    assert {color for color, _, _ in looks} <= okabe_ito


def test_each_class_has_its_difference_on_its_interval_filled_where_that_excludes_zero(summary, drawn):
    panels = [axes for axes in drawn["class_differences"][0].axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == list(SEVEN[1:])
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names == list(NINETEEN[:-1])  # the last is on no image
    for axes, row in zip(panels, summary.rows[1:], strict=True):
        points = [line for line in axes.lines if line.get_marker() != "None"]
        bars = [line for line in axes.lines if line.get_marker() == "None"][1:]  # the first is the zero
        for place, (name, point, bar) in enumerate(zip(names, points, bars, strict=True)):
            compared = row.compared["per_class_iou"][name]
            low, high = compared["interval"]
            np.testing.assert_allclose(point.get_xydata(), [[100 * compared["difference"], place]])
            np.testing.assert_allclose(bar.get_xdata(), [100 * low, 100 * high])
            assert (point.get_markerfacecolor() != "white") == (low > 0 or high < 0)


def test_accuracy_stands_over_latency_in_milliseconds(summary, drawn):
    (axes,) = drawn["accuracy_latency"][0].axes
    points = {each.get_label(): each[0].get_xydata()[0] for each in axes.containers}
    for row in summary.rows:
        np.testing.assert_allclose(points[row.label], [1000 * row.costs.latency, 100 * row.mean])
    assert "480 x 360, ms" in axes.get_xlabel()
    assert "abacus" in axes.get_xlabel()


def test_pictures_have_a_columns_or_a_pages_width_and_nothing_leaves_them(drawn):
    for figure, description in drawn.values():
        png = Image.open(io.BytesIO(encoded(figure, "png")))
        assert png.width / 300 == pytest.approx(figure.get_figwidth(), abs=0.01)
        assert figure.get_figwidth() in (COLUMN, PAGE)
        assert figure.get_figheight() < 9
        pixels = np.asarray(png.convert("L"))
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (border == 255).all()
        assert (pixels < 128).any()
        assert description
        assert encoded(figure, "pdf").startswith(b"%PDF")


def test_what_was_not_measured_is_not_drawn(tmp_path):
    study = finish(write_study(tmp_path, ("none",), seeds=[0]), tmp_path / "runs", images=3)
    for path in tmp_path.rglob("metrics*.csv"):
        path.unlink()
    assert plots(summarize_study(study, tmp_path / "runs")) == {}
