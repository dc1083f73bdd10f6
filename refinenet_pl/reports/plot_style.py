"""Themes, sizes and legend of the plots, and their files."""

import io
import math
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refinenet_pl.reports.rows import Row
from refinenet_pl.reports.summary import DatasetSummary


class Theme(NamedTuple):
    """Colors of a plot.

    Attributes:
        ink: Text, axes, and the first row.
        paper: Background.
        grid: Lines behind the values.
        rows: Colors of the rows, the first included.
    """

    ink: str
    paper: str
    grid: str
    rows: tuple[str, ...]


LIGHT = Theme("black", "white", "0.92", ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"))
"""Okabe and Ito (2008): colors for color-blind readers, without yellow, which is hard to see on paper."""
DARK = Theme(
    "#e6e9ed", "#14171a", "#363d45", ("#e6e9ed", "#3d9be0", "#ee7733", "#1fbf92", "#dd9bc0", "#f0b429", "#a4d8ff")
)
"""The same hues, lighter, on the background of the page in dark mode."""
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


class Look(NamedTuple):
    """How plots are drawn.

    Attributes:
        theme: Colors.
        narrow: Whether all plots fit a column of print, and a phone. Else those of several panels fit a page.
    """

    theme: Theme = LIGHT
    narrow: bool = False

    @property
    def style(self) -> dict[Any, Any]:
        """Matplotlib's settings. They hold while a plot is drawn and while it is rendered."""
        names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
        paper = {"axes.facecolor": self.theme.paper, "figure.facecolor": self.theme.paper}
        return STYLE | dict.fromkeys(names, self.theme.ink) | paper

    def panels(self, count: int) -> tuple[int, int, float]:
        """Return how panels are arranged: the rows and columns of the grid, at most three of them, and its width."""
        columns = 1 if self.narrow else math.ceil(count / math.ceil(count / 3))
        return math.ceil(count / columns), columns, COLUMN if columns == 1 else PAGE


LIGHT_PAGE = Look()
"""How plots look in print."""


def row_style(dataset: DatasetSummary, row: Row, theme: Theme) -> dict[str, Any]:
    """Return color, marker and dashes of a row, the same in all plots of a study.

    Colors repeat after seven rows, with other markers and dashes.
    """
    index = next(index for index, other in enumerate(dataset.rows) if other is row)
    return {
        "color": theme.rows[index % len(theme.rows)],
        "marker": MARKERS[(index + index // len(theme.rows)) % len(MARKERS)],
        "linestyle": DASHES[(index + index // len(theme.rows)) % len(DASHES)],
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


def render(figure: Figure, kind: str, look: Look = LIGHT_PAGE) -> bytes:
    """Return the content of a plot's file, "pdf", "png" or "webp" (lossless). The same plot gives the same bytes."""
    file = io.BytesIO()
    options: dict[str, dict[str, Any]] = {
        "pdf": {"metadata": {"CreationDate": None}},
        "webp": {"pil_kwargs": {"lossless": True}},
    }
    with matplotlib.rc_context(look.style):
        figure.savefig(file, format=kind, dpi=RESOLUTION, **options.get(kind, {}))
    return file.getvalue()
