"""Sizes, colors and legend of the plots, and their files."""

import io
import math
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refinenet_pl.reports.rows import Row
from refinenet_pl.reports.summary import DatasetSummary

COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito (2008): colors for color-blind readers, without yellow, which is hard to see on paper."""
MARKERS = "osD^vPX"
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1)), (0, (7, 1, 1, 1, 1, 1)), (0, (2, 2)))
COLUMN, PAGE = 3.4, 7.0
"""Widths in inches."""
RESOLUTION = 300
"""Pixels per inch of PNG files."""
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
    "pdf.fonttype": 42,  # publishers ask for TrueType fonts instead of outlines
}


def row_style(dataset: DatasetSummary, row: Row) -> dict[str, Any]:
    """Return color, marker and dashes of a row, the same in all plots of a study.

    Colors repeat after seven rows, with other markers and dashes.
    """
    index = next(index for index, other in enumerate(dataset.rows) if other is row)
    return {
        "color": COLORS[index % len(COLORS)],
        "marker": MARKERS[(index + index // len(COLORS)) % len(MARKERS)],
        "linestyle": DASHES[(index + index // len(COLORS)) % len(DASHES)],
    }


def add_legend(figure: Figure, axes: Axes) -> None:
    """Add a legend below the axes, in as many columns as fit, and make the figure taller for it."""
    handles, labels = axes.get_legend_handles_labels()
    lines = "\n".join(labels).splitlines()
    columns = max(1, min(3, 56 // (max(map(len, lines)) + 9)))
    figure.set_figheight(figure.get_figheight() + 0.17 * math.ceil(len(lines) / columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def plain(text: str) -> str:
    """Return a text for a plot, in which matplotlib reads no formula, and which a legend does not leave out."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def render(figure: Figure, kind: str) -> bytes:
    """Return the content of a plot's file, "pdf" or "png". The same plot gives the same bytes."""
    file = io.BytesIO()
    undated: dict[str, Any] = {"metadata": {"CreationDate": None}} if kind == "pdf" else {}
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format=kind, dpi=RESOLUTION, **undated)
    return file.getvalue()
