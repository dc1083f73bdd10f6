"""The plot of a report that shows which classes are taken for which others."""

import math
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from refinenet_pl.reports.plot_style import COLUMN, PAGE, Look, Theme, plain
from refinenet_pl.reports.rows import Row
from refinenet_pl.reports.summary import DatasetSummary

POINTS_PER_INCH = 72
FEW_CLASSES, MANY_CLASSES = 12, 40
"""Most classes of a matrix in a column of print, and of several matrices side by side."""
LEGIBLE = 12.0
"""Smallest side of a cell that holds a number, in points."""
LABELS = 0.9
"""Space for the names of the classes, in inches."""


def confusion_matrices(dataset: DatasetSummary, look: Look) -> Figure | None:
    """Draw the confusion matrix of each row in percent of the target's pixels, mean over seeds.

    Cells that are large enough hold their value, from 1 % on. Classes without target pixels are gray.
    """
    rows, count = dataset.finished, len(dataset.class_names)
    columns = 1 if look.narrow or count > MANY_CLASSES else min(3, len(rows))
    lines = math.ceil(len(rows) / columns)
    width = COLUMN if look.narrow or (len(rows) == 1 and count <= FEW_CLASSES) else PAGE
    side = (width - LABELS) / columns
    title = 0.35 if len(rows) > 1 else 0
    figure = Figure((width, lines * (side + title) + LABELS), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    cell = POINTS_PER_INCH * side / count
    for axes, row in zip(panels, rows, strict=False):
        _draw(axes, _normalized(row), cell, look.theme)
        if title:
            axes.set_title(plain(textwrap.fill(row.label, 34)), fontsize=8)
    for axes in panels[len(rows) :]:
        axes.set_visible(False)
    names, size = [*map(plain, dataset.class_names)], min(8, 0.9 * cell)
    for axes in panels[: len(rows)]:
        axes.set_xticks(range(count), names, rotation=90, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
    figure.supxlabel("prediction", fontsize=8)
    figure.supylabel("target", fontsize=8)
    return figure


def _normalized(row: Row) -> np.ndarray:
    """Return the matrix of all seeds in percent of the pixels of each target class, [C, C]; NaN without pixels."""
    matrix = np.sum([run.images.total() for run in row.runs], axis=0)
    pixels = matrix.sum(axis=1, keepdims=True)
    return np.divide(100 * matrix, pixels, out=np.full(matrix.shape, np.nan), where=pixels > 0)


def _draw(axes: Axes, percents: np.ndarray, cell: float, theme: Theme) -> None:
    colors = LinearSegmentedColormap.from_list("percent", [theme.paper, theme.rows[1], theme.ink])
    # The root makes the small values visible, which are the errors.
    axes.imshow(percents, cmap=colors, norm=PowerNorm(0.5, 0, 100), aspect="equal")
    axes.set_facecolor(theme.grid)
    axes.spines[["top", "right"]].set_visible(True)
    axes.tick_params(length=0)
    if cell < LEGIBLE:
        return
    size = min(9, 0.48 * cell)
    for (target, prediction), value in np.ndenumerate(percents):
        if value > 0.5:
            color = theme.paper if value > 20 else theme.ink
            axes.text(prediction, target, f"{value:.0f}", ha="center", va="center_baseline", fontsize=size, color=color)
