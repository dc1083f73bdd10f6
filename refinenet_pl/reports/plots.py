"""Plots of a study on one dataset, for print: one column wide, with color, marker and dashes per row."""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from refinenet_pl.reports.confusion_plot import confusion_matrices
from refinenet_pl.reports.error_plot import error_parts
from refinenet_pl.reports.field_plot import receptive_fields
from refinenet_pl.reports.metric import metric_name
from refinenet_pl.reports.plot_style import COLUMN, LIGHT_PAGE, Look, add_legend, plain, row_style
from refinenet_pl.reports.rows import Row
from refinenet_pl.reports.summary import DatasetSummary
from refinenet_pl.text import join

LEAST_SPAN = 0.5
"""Least part of the largest latency that the axis of latencies shows. Less would spread noise over the whole axis."""
CEILING = ". A line across a bar: what is missing at the ceiling of networks whose logits have stride 4"


def draw_plots(dataset: DatasetSummary, look: Look = LIGHT_PAGE) -> dict[str, tuple[Figure, str]]:
    """Draw all plots that have data; by name, each with its caption."""
    name = metric_name(dataset.metric)
    measured = any(row.costs.latency_quartiles for row in dataset.finished)
    ceiling = "" if dataset.ceilings is None else CEILING
    plots = {
        "learning_curves": (
            learning_curves,
            "Mean IoU of the validations during training: mean over seeds, and each seed as a thin line",
        ),
        "accuracy_latency": (
            accuracy_latency,
            f"{name[0].upper()}{name[1:]} of each row against latency, ± standard deviation over seeds"
            + (", and with the quartiles of the latency" if measured else ""),
        ),
        "class_differences": (
            class_differences,
            f"Difference of each class's IoU to {dataset.rows[0].label}, with intervals over "
            + ("seeds and images; filled markers: it differs from zero" if dataset.covers_seeds else "images alone"),
        ),
        "error_parts": (
            error_parts,
            f"What is missing to an IoU of 100 %, by the part of the errors, mean over seeds{ceiling}",
        ),
        "confusion_matrices": (
            confusion_matrices,
            "Confusion matrix in percent of the pixels of each target class, mean over seeds. The colors follow the "
            "square root. Gray: no target has the class",
        ),
        "receptive_fields": (
            receptive_fields,
            "Effective receptive field of each row: gradient of the central logit, mean over validation images, "
            "logarithmic. Circles hold 50 % and 90 % of it; their radii are in pixels. Reach: how far away, along an "
            "axis, a pixel can have any influence. First seed",
        ),
    }
    with matplotlib.rc_context(look.style):
        drawn = {key: (draw(dataset, look), caption) for key, (draw, caption) in plots.items()}
    prefix = f"{dataset.name}: " if dataset.name else ""
    return {key: (figure, prefix + caption) for key, (figure, caption) in drawn.items() if figure}


def learning_curves(dataset: DatasetSummary, look: Look) -> Figure | None:
    """Plot mean IoU over optimizer steps: a line with markers for the mean over seeds, thin lines for the seeds."""
    groups = [rows for rows in dataset.rows_by_training if rows[0].curves]
    if not groups:
        return None
    figure = Figure((COLUMN, 2.2), layout="constrained")
    axes = figure.subplots()
    for rows in groups:
        style = row_style(dataset, rows[0], look.theme)
        curves = list(rows[0].curves.values())
        steps = sorted(set.intersection(*map(set, curves)))
        for curve in curves if len(curves) > 1 else ():
            axes.plot(list(curve), [100 * value for value in curve.values()], color=style["color"], lw=0.5, alpha=0.5)
        means = [100 * np.mean([curve[step] for curve in curves]) for step in steps]
        axes.plot(
            steps, means, label="\n".join(plain(row.label) for row in rows), **style, markevery=max(1, len(steps) // 8)
        )
    axes.set(xlabel="optimizer step", ylabel="mean IoU, %", xlim=(0, None))
    add_legend(figure, axes)
    return figure


def class_differences(dataset: DatasetSummary, look: Look) -> Figure | None:
    """Plot each class's difference to the base row as a point on its interval, one panel per row."""
    rows = [row for row in dataset.finished if row.compared]
    if not rows:
        return None
    names = [
        name for name in dataset.class_names if any(_compared(row, name)["difference"] is not None for row in rows)
    ]
    lines, columns, width = look.panels(len(rows))
    figure = Figure((width, lines * (0.7 + 0.15 * len(names))), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, row in zip(panels, rows, strict=False):
        marks = dict(zip(dataset.class_names, dataset.marks[row.label].tolist(), strict=False))
        compared = [_compared(row, name) | {"marked": marks[name]} for name in names]
        _plot_differences(axes, compared, row_style(dataset, row, look.theme), look)
        axes.set_title(plain(textwrap.fill(row.label, 34)), fontsize=8)
    for axes in panels[len(rows) :]:
        axes.set_visible(False)
    panels[0].set(yticks=range(len(names)), yticklabels=[*map(plain, names)], ylim=(len(names) - 0.5, -0.5))
    figure.supxlabel(plain(f"IoU minus {dataset.rows[0].label}, points"), fontsize=8)
    return figure


def _compared(row: Row, class_name: str) -> dict[str, Any]:
    assert row.compared is not None
    return row.compared.as_dict()["per_class_iou"][class_name]


def _plot_differences(axes: Axes, classes: Sequence[dict[str, Any]], style: dict[str, Any], look: Look) -> None:
    axes.axvline(0, color="0.6", lw=0.6)
    for y, compared in enumerate(classes):
        if compared["difference"] is None:
            continue
        low, high = compared["interval"] or (np.nan, np.nan)
        axes.plot([100 * low, 100 * high], [y, y], color=style["color"], lw=0.9)
        face = style["color"] if compared["marked"] else look.theme.paper
        axes.plot(100 * compared["difference"], y, style["marker"], color=style["color"], mfc=face, ms=3.5, mew=0.9)
    axes.tick_params("y", length=0)
    axes.tick_params("x", labelbottom=True)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=look.theme.grid, lw=0.5)
    axes.set_axisbelow(True)


def accuracy_latency(dataset: DatasetSummary, look: Look) -> Figure | None:
    """Plot the study's metric over the latency per image: standard deviation over seeds, quartiles of the latency."""
    rows = [row for row in dataset.finished if row.mean is not None and row.costs.latency is not None]
    if len(rows) < 2:
        return None
    figure = Figure((COLUMN, 2.2), layout="constrained")
    axes = figure.subplots()
    latency = [1000 * row.costs.latency for row in rows]  # type: ignore[operator]
    for row, median in zip(rows, latency, strict=True):
        quartiles = row.costs.latency_quartiles
        axes.errorbar(
            median,
            100 * row.mean,  # type: ignore[operator]
            None if row.std is None else 100 * row.std,
            None if quartiles is None else [[median - 1000 * quartiles[0]], [1000 * quartiles[1] - median]],
            capsize=2,
            elinewidth=0.8,
            label=plain(row.label),
            **row_style(dataset, row, look.theme) | {"linestyle": "none"},
        )
    if max(latency) > 10 * min(latency):
        axes.set_xscale("log")
        axes.margins(0.12)
    else:
        axes.margins(0.12)
        axes.set_xlim(*_widened(*axes.get_xlim(), LEAST_SPAN * max(latency)))
    axes.set(
        xlabel=f"latency per image of {dataset.image_size}, ms\n({plain(join(dataset.devices))})",
        ylabel=plain(f"{metric_name(dataset.metric)}, %"),
    )
    add_legend(figure, axes)
    return figure


def _widened(low: float, high: float, span: float) -> tuple[float, float]:
    """Return an interval around the same middle that is at least `span` wide."""
    missing = max(0.0, span - (high - low)) / 2
    return low - missing, high + missing
