"""The plot of a report that shows what each part of the errors takes from the IoU of each class."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from refinenet_pl.evaluation.error_parts import PARTS
from refinenet_pl.reports.columns import PART_HEADINGS
from refinenet_pl.reports.plot_style import Look, plain
from refinenet_pl.reports.summary import DatasetSummary

COLORS = {"edge": "#56B4E9", "swap": "#E69F00", "missed": "#D55E00", "invented": "#CC79A7"}
HATCHES = {"edge": "", "swap": "/////", "missed": "", "invented": "....."}


def error_parts(dataset: DatasetSummary, look: Look) -> Figure | None:
    """Plot 1 - IoU of each class as a bar of the parts of its errors, one panel per row, with the ceiling as a line."""
    rows = [row for row in dataset.finished if row.scores is not None and row.scores.errors is not None]
    if not rows:
        return None
    names = [*dataset.class_names, "mean"]
    lines, columns, width = look.panels(len(rows))
    figure = Figure((width, lines * (0.6 + 0.16 * len(names)) + 0.3), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    places = np.arange(len(names))
    for axes, row in zip(panels, rows, strict=False):
        losses = 100 * np.nan_to_num(row.class_errors)
        starts = np.zeros(len(names))
        for index, part in enumerate(PARTS):
            axes.barh(
                places,
                losses[index],
                0.72,
                starts,
                color=COLORS[part],
                hatch=HATCHES[part],
                edgecolor=look.theme.paper,
                lw=0.3,
                label=PART_HEADINGS[part],
            )
            starts += losses[index]
        for place, ceiling in enumerate((dataset.ceilings or {}).get("stride 4", [])):
            if ceiling is not None:
                label = "ceiling at stride 4" if place == 0 else None
                axes.plot(
                    [100 - 100 * ceiling] * 2, [place - 0.42, place + 0.42], color=look.theme.ink, lw=1, label=label
                )
        axes.set_title(plain(textwrap.fill(row.label, 34)), fontsize=8)
        axes.tick_params("y", length=0)
        axes.tick_params("x", labelbottom=True)
    for axes in panels[len(rows) :]:
        axes.set_visible(False)
    panels[0].set(yticks=places, yticklabels=[*map(plain, names)], ylim=(len(names) - 0.5, -0.5), xlim=(0, None))
    figure.supxlabel("missing to an IoU of 100 %, points", fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2 if columns == 1 else 5)
    return figure
