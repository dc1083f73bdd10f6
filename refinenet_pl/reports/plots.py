"""A study's pictures for print: at a column's width, told apart by color, marker and dashes alike."""

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from refinenet_pl.reports.notes import listed, metric_name, rows_by_training, unique
from refinenet_pl.reports.summary import Row, Summary

COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's (2008), which color-blind readers can tell apart; without yellow, which paper hardly shows."""
MARKERS = "osD^vPX"
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1)), (0, (7, 1, 1, 1, 1, 1)), (0, (2, 2)))
COLUMN, PAGE = 3.4, 7.0
"""Widths, in inches."""
RESOLUTION = 300
"""Of PNGs, in pixels an inch."""
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.handlelength": 3,
    "pdf.fonttype": 42,  # letters, which publishers ask for, not outlines
}


def plots(summary: Summary) -> dict[str, tuple[Figure, str]]:
    """The pictures of which there is something to show, by name, each with its description."""
    reading = f"{metric_name(summary.study.metric)} of each row"
    drawn = {
        "learning_curves": (
            learning_curves,
            "Mean IoU of the validations in training: means over seeds, and each seed",
        ),
        "accuracy_latency": (
            accuracy_latency,
            f"{reading[0].upper()}{reading[1:]} against latency, ± standard deviation over seeds",
        ),
        "class_differences": (
            class_differences,
            f"Difference of each class's IoU to {summary.rows[0].label}, with its interval over the images; filled "
            "where that excludes zero",
        ),
    }
    with matplotlib.rc_context(STYLE):
        figures = {name: (draw(summary), description) for name, (draw, description) in drawn.items()}
    return {name: (figure, description) for name, (figure, description) in figures.items() if figure}


def encoded(figure: Figure, kind: str) -> bytes:
    """A picture as a file of a kind, "pdf" or "png", the same bytes for the same picture."""
    file = io.BytesIO()
    undated: dict[str, Any] = {"metadata": {"CreationDate": None}} if kind == "pdf" else {}
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format=kind, dpi=RESOLUTION, **undated)
    return file.getvalue()


def learning_curves(summary: Summary) -> Figure | None:
    """Mean IoU over steps: a line with markers for the mean over seeds, and a thin line for each of several seeds."""
    trainings = [rows for rows in rows_by_training(summary) if rows[0].curves]
    if not trainings:
        return None
    figure = Figure((COLUMN, 2.2), layout="constrained")
    axes = figure.subplots()
    for rows in trainings:
        style = line_style(summary, rows[0])
        curves = list(rows[0].curves.values())
        steps = sorted(set.intersection(*map(set, curves)))
        for curve in curves if len(curves) > 1 else ():
            axes.plot(list(curve), [100 * value for value in curve.values()], color=style["color"], lw=0.5, alpha=0.5)
        means = [100 * np.mean([curve[step] for curve in curves]) for step in steps]
        axes.plot(steps, means, label="\n".join(row.label for row in rows), **style, markevery=max(1, len(steps) // 8))
    axes.set(xlabel="training step", ylabel="mean IoU, %", xlim=(0, None))
    legend(figure, axes)
    return figure


def class_differences(summary: Summary) -> Figure | None:
    """For each row but the base row a panel, in which each class has its difference as a point on its interval."""
    rows = [row for row in summary.finished if row.compared]
    if not rows:
        return None
    names = [
        name
        for name in rows[0].runs[0].images.class_names
        if any(_of(row, name)["difference"] is not None for row in rows)
    ]
    across = math.ceil(len(rows) / math.ceil(len(rows) / 3))
    down = math.ceil(len(rows) / across)
    width = COLUMN if across == 1 else PAGE
    figure = Figure((width, down * (0.7 + 0.15 * len(names))), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, row in zip(panels, rows, strict=False):
        _differences(axes, [_of(row, name) for name in names], line_style(summary, row))
        axes.set_title(textwrap.fill(row.label, 34), fontsize=8)
    for axes in panels[len(rows) :]:
        axes.set_visible(False)
    panels[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    figure.supxlabel(f"IoU minus {summary.rows[0].label}, points", fontsize=8)
    return figure


def _of(row: Row, class_name: str) -> dict[str, Any]:
    assert row.compared is not None
    return row.compared["per_class_iou"][class_name]


def _differences(axes: Axes, classes: Sequence[dict[str, Any]], style: dict[str, Any]) -> None:
    axes.axvline(0, color="0.6", lw=0.6)
    for place, compared in enumerate(classes):
        if compared["difference"] is None:
            continue
        low, high = compared["interval"] or (np.nan, np.nan)
        axes.plot([100 * low, 100 * high], [place, place], color=style["color"], lw=0.9)
        face = style["color"] if low > 0 or high < 0 else "white"
        axes.plot(100 * compared["difference"], place, style["marker"], color=style["color"], mfc=face, ms=3.5, mew=0.9)
    axes.tick_params("y", length=0)
    axes.tick_params("x", labelbottom=True)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color="0.92", lw=0.5)
    axes.set_axisbelow(True)


def accuracy_latency(summary: Summary) -> Figure | None:
    """The study's metric over the time that one image takes, each row a point with its standard deviation."""
    rows = [row for row in summary.finished if row.mean is not None and row.costs.latency is not None]
    if len(rows) < 2:
        return None
    figure = Figure((COLUMN, 2.2), layout="constrained")
    axes = figure.subplots()
    latency = [1000 * row.costs.latency for row in rows]  # type: ignore[operator]
    for row, milliseconds in zip(rows, latency, strict=True):
        style = line_style(summary, row) | {"linestyle": "none"}
        spread = None if row.std is None else 100 * row.std
        axes.errorbar(milliseconds, 100 * row.mean, spread, capsize=2, elinewidth=0.8, label=row.label, **style)  # type: ignore[operator]
    if max(latency) > 10 * min(latency):
        axes.set_xscale("log")
    height, width = summary.study.image_size
    devices = listed(unique(row.costs.device for row in rows if row.costs.device))
    axes.set(
        xlabel=f"latency of one image of {width} x {height}, ms\n({devices})",
        ylabel=f"{metric_name(summary.study.metric)}, %",
    )
    axes.margins(0.12)
    legend(figure, axes)
    return figure


def line_style(summary: Summary, row: Row) -> dict[str, Any]:
    """Color, marker and dashes of a row, the same in all pictures of a study; after the seventh they pair anew."""
    place = summary.rows.index(row)
    return {
        "color": COLORS[place % len(COLORS)],
        "marker": MARKERS[(place + place // len(COLORS)) % len(MARKERS)],
        "linestyle": DASHES[(place + place // len(COLORS)) % len(DASHES)],
    }


def legend(figure: Figure, axes: Axes) -> None:
    """Beneath the axes, where it covers nothing, in as many columns as the labels leave room for."""
    handles, labels = axes.get_legend_handles_labels()
    lines = "\n".join(labels).splitlines()
    columns = max(1, min(3, 56 // (max(map(len, lines)) + 9)))
    figure.set_figheight(figure.get_figheight() + 0.17 * math.ceil(len(lines) / columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
