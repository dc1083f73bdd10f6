"""The plots of a dataset as files for print, and as images for the page: in light and dark, and for narrow screens."""

import re
from dataclasses import dataclass

from refinenet_pl.reports.plot_style import COLUMN, DARK, LIGHT, Look, render
from refinenet_pl.reports.plots import draw_plots
from refinenet_pl.reports.summary import DatasetSummary

LOOKS = {
    "light": Look(LIGHT),
    "dark": Look(DARK),
    "light narrow": Look(LIGHT, narrow=True),
    "dark narrow": Look(DARK, narrow=True),
}


@dataclass(frozen=True)
class Plot:
    """One plot.

    Attributes:
        name: Name of its files, without suffix.
        caption: Caption, without a period at its end.
        wide: Whether it is wider than a column of print.
        files: Content of its files by name: PNG and PDF, and of a wide plot also those that fit a column of print.
        images: WebP images for the page: "light" and "dark", and of a wide plot also "light narrow" and "dark narrow".
    """

    name: str
    caption: str
    wide: bool
    files: dict[str, bytes]
    images: dict[str, bytes]


def make_plots(dataset: DatasetSummary) -> list[Plot]:
    """Draw and render all plots that have data."""
    suffix = "" if dataset.name is None else "_" + re.sub(r"[^A-Za-z0-9.+_-]+", "-", dataset.name)
    drawn = {kind: draw_plots(dataset, look) for kind, look in LOOKS.items()}
    plots = []
    for key, (figure, caption) in drawn["light"].items():
        name, wide = f"{key}{suffix}", bool(figure.get_figwidth() > COLUMN)
        figures = {kind: plots_of_kind[key][0] for kind, plots_of_kind in drawn.items()}
        prints = {name: "light"} | ({f"{name}_column": "light narrow"} if wide else {})
        files = {
            f"{file}.{form}": render(figures[kind], form, LOOKS[kind])
            for file, kind in prints.items()
            for form in ("png", "pdf")
        }
        shown = [kind for kind in LOOKS if wide or "narrow" not in kind]
        images = {kind: render(figures[kind], "webp", LOOKS[kind]) for kind in shown}
        plots.append(Plot(name, caption, wide, files, images))
    return plots
