"""Plots of studies, read back from the figures."""

import io
from dataclasses import replace

import numpy as np
import pytest
from helpers.fake_study import finish, write_study
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image

from refinenet_pl.reports.plot_files import LOOKS
from refinenet_pl.reports.plot_style import COLUMN, DARK, PAGE, render
from refinenet_pl.reports.plots import draw_plots
from refinenet_pl.reports.study_summary import summarize_study

SEVEN = ("none", "original", "improved", "wide", "one block", "two blocks", "four blocks")
NINETEEN = tuple(f"class {index}" for index in range(19))


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study = finish(write_study(folder, SEVEN), folder / "runs", NINETEEN, images=5)
    return summarize_study(study, folder / "runs").datasets[0]


@pytest.fixture(scope="module")
def drawn(summary):
    return draw_plots(summary)


def test_curves_show_mean_and_seeds(summary, drawn):
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
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("optimizer step", "mean IoU, %")


def test_rows_have_distinct_styles(drawn):
    (axes,) = drawn["learning_curves"][0].axes
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    styles = [(to_hex(line.get_color()), line.get_marker(), str(line.get_linestyle())) for line in lines]
    assert len({color for color, _, _ in styles}) == len({marker for _, marker, _ in styles}) == len(SEVEN)
    okabe_ito = {"#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"}
    assert {color for color, _, _ in styles} <= okabe_ito


def test_class_differences_and_intervals(summary, drawn):
    panels = [axes for axes in drawn["class_differences"][0].axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == list(SEVEN[1:])
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names == list(NINETEEN[:-1])  # the last is on no image
    for axes, row in zip(panels, summary.rows[1:], strict=True):
        points = [line for line in axes.lines if line.get_marker() != "None"]
        bars = [line for line in axes.lines if line.get_marker() == "None"][1:]  # the first is the zero
        for place, (name, point, bar) in enumerate(zip(names, points, bars, strict=True)):
            compared = row.compared.as_dict()["per_class_iou"][name]
            low, high = compared["interval"]
            np.testing.assert_allclose(point.get_xydata(), [[100 * compared["difference"], place]])
            np.testing.assert_allclose(bar.get_xdata(), [100 * low, 100 * high])
            marked = summary.is_marked(row, f"per_class_iou.{name}")
            assert (point.get_markerfacecolor() != "white") == marked
            assert not marked or low > 0 or high < 0


def test_accuracy_over_latency(summary, drawn):
    (axes,) = drawn["accuracy_latency"][0].axes
    points = {each.get_label(): each[0].get_xydata()[0] for each in axes.containers}
    for row in summary.rows:
        np.testing.assert_allclose(points[row.label], [1000 * row.costs.latency, 100 * row.mean])
    assert "480 x 360, ms" in axes.get_xlabel()
    assert "abacus" in axes.get_xlabel()


def test_confusion_matrices_in_percent_of_targets(summary, drawn):
    panels = [axes for axes in drawn["confusion_matrices"][0].axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == list(SEVEN)
    for axes, row in zip(panels, summary.rows, strict=True):
        total = np.sum([run.results["confusion_matrix"] for run in row.runs], axis=0)
        shown = axes.images[0].get_array().filled(np.nan)
        np.testing.assert_allclose(shown[:-1], 100 * total[:-1] / total[:-1].sum(1, keepdims=True))
        assert np.isnan(shown[-1]).all(), "the last class is on no image"
        assert not axes.texts, "19 classes side by side leave no place for numbers"


def test_large_cells_hold_numbers(tmp_path):
    names = ("road", "car", "sky", "tree", "void")
    study = finish(write_study(tmp_path, ("none",), seeds=[0]), tmp_path / "runs", names, images=3)
    summary = summarize_study(study, tmp_path / "runs").datasets[0]
    (axes,) = draw_plots(summary)["confusion_matrices"][0].axes
    total = np.array(summary.rows[0].runs[0].results["confusion_matrix"])
    for text in axes.texts:
        prediction, target = map(int, text.get_position())
        assert float(text.get_text()) == pytest.approx(100 * total[target, prediction] / total[target].sum(), abs=0.51)
    assert len(axes.texts) == 8, "each of four classes is taken for itself and the next one"
    assert [label.get_text() for label in axes.get_yticklabels()] == list(names)


def test_noise_of_the_latency_is_seen_as_noise(summary):
    latencies = [0.0250 + 0.0001 * index for index in range(len(SEVEN))]
    rows = [
        replace(row, costs=replace(row.costs, latency=latency, latency_quartiles=(latency - 0.0003, latency + 0.0004)))
        for row, latency in zip(summary.rows, latencies, strict=True)
    ]
    (axes,) = draw_plots(replace(summary, rows=rows))["accuracy_latency"][0].axes
    low, high = axes.get_xlim()
    assert low < 25 < high
    assert (25.6 - 25.0) / (high - low) < 0.1
    for each, latency in zip(axes.containers, latencies, strict=True):
        (quartiles, _) = each[2]
        ends = quartiles.get_segments()[0][:, 0]
        np.testing.assert_allclose(ends, [1000 * latency - 0.3, 1000 * latency + 0.4])


def test_plot_sizes_and_margins(drawn):
    assert {figure.get_figwidth() for figure, _ in drawn.values()} == {COLUMN, PAGE}
    for figure, description in drawn.values():
        check_size_and_margin(figure, "png", "light")
        assert figure.get_figheight() < 9
        assert description
        assert render(figure, "pdf").startswith(b"%PDF")


def check_size_and_margin(figure, kind, look):
    image = Image.open(io.BytesIO(render(figure, kind, LOOKS[look])))
    assert image.width / 300 == pytest.approx(figure.get_figwidth(), abs=0.01)
    pixels = np.asarray(image.convert("RGB"))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (border == to_rgb_bytes(LOOKS[look].theme.paper)).all()
    assert (np.ptp(pixels, axis=(0, 1)) > 128).all()


def to_rgb_bytes(color):
    return [round(255 * channel) for channel in to_rgb(color)]


@pytest.mark.parametrize("look", ["dark", "dark narrow", "light narrow"])
def test_plots_for_dark_and_narrow_screens(summary, drawn, look):
    plots = draw_plots(summary, LOOKS[look])
    assert plots.keys() == drawn.keys()
    for name, (figure, _) in plots.items():
        check_size_and_margin(figure, "webp", look)
        assert figure.get_figwidth() == (COLUMN if "narrow" in look else drawn[name][0].get_figwidth())
        if "dark" in look:
            texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
            assert {to_hex(text.get_color()) for text in texts} == {DARK.ink}
            colors = {to_hex(line.get_color()) for line in figure.findobj(Line2D)}
            assert all(contrast(color, DARK.paper) > 3 for color in colors - {to_hex(DARK.grid)}), colors
    if "narrow" in look:
        lefts = {round(axes.get_position().x0, 2) for axes in plots["class_differences"][0].axes}
        assert len(lefts) == 1, "panels below each other"


def contrast(color, other):
    """The contrast ratio of the Web Content Accessibility Guidelines, 1 to 21."""
    linear = [
        [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(each)] for each in (color, other)
    ]
    dark, light = sorted(np.array(linear) @ [0.2126, 0.7152, 0.0722])
    return (light + 0.05) / (dark + 0.05)


def test_no_data_no_plots(tmp_path):
    study = finish(write_study(tmp_path, ("none",), seeds=[0]), tmp_path / "runs", images=3)
    for path in tmp_path.rglob("metrics*.csv"):
        path.unlink()
    assert [*draw_plots(summarize_study(study, tmp_path / "runs").datasets[0])] == ["confusion_matrices"]
