"""The plot of a report that shows the receptive field of each row."""

import math
import textwrap

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from refinenet_pl.reports.plot_style import Look, plain
from refinenet_pl.reports.summary import DatasetSummary

SHARES = (0.5, 0.9)
"""Shares of the gradient that the circles hold."""


def receptive_fields(dataset: DatasetSummary, look: Look) -> Figure | None:
    """Draw the effective receptive field of each row, with circles that hold 50 and 90 % of it, on a common scale."""
    rows = [row for row in dataset.finished if row.field is not None]
    if not rows:
        return None
    lines, columns, width = look.panels(len(rows))
    figure = Figure((width, lines * (width / columns + 0.45)), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    fields = [row.field for row in rows if row.field is not None]
    half = max(min(max(field.weights.shape) // 2, math.ceil(1.3 * field.radius(SHARES[-1]))) for field in fields)
    top = max(float(field.weights.max()) for field in fields)
    for axes, row, field in zip(panels, rows, fields, strict=False):
        height, length = field.weights.shape
        extent = (-length / 2, length / 2, height / 2, -height / 2)
        shown = np.maximum(field.weights, top / 1e4)
        axes.imshow(shown, extent=extent, cmap="magma", norm=LogNorm(top / 1e4, top), rasterized=True)
        radii = [field.radius(share) for share in SHARES]
        for radius, style in zip(radii, ("-", "--"), strict=True):
            axes.add_patch(Circle((0, 0), radius, fill=False, color="white", lw=0.9, ls=style))
        reach = "the whole image" if math.isinf(field.theoretical) else f"{field.theoretical:.0f}"
        title = plain(textwrap.fill(row.label, 34))
        axes.set_title(f"{title}\n50 %: {radii[0]:.0f}, 90 %: {radii[1]:.0f}, reach: {reach}", fontsize=8)
        axes.set(xlim=(-half, half), ylim=(half, -half), facecolor="black")
        axes.spines[["top", "right"]].set_visible(True)
    for axes in panels[len(rows) :]:
        axes.set_visible(False)
    figure.supxlabel("pixels from the center", fontsize=8)
    return figure
