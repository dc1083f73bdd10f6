"""A report as one HTML page without other files: tables, plots, and predictions of two rows side by side."""

import base64
import html
import json
import re
from importlib.resources import files
from typing import Any

from refinenet_pl.reports.assemble import DatasetReport, Report
from refinenet_pl.reports.plot_files import Plot


def page(report: Report) -> str:
    """Return the page's HTML."""
    content = {
        "table": [vars(column) for column in report.table],
        "costs": [vars(column) for column in report.costs],
        "factors": report.factors,
        "caption": report.caption,
        "warnings": report.warnings,
        "incomplete": report.incomplete,
        "notes": [*report.numbered_sources, *report.notes],
        "datasets": [_dataset(dataset) for dataset in report.datasets],
    }
    parts = {"title": html.escape(report.title), "content": embed_json(content)}
    template = files("refinenet_pl.reports").joinpath("page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(title|content)\}\}", lambda match: parts[match[1]], template)


def embed_json(content: Any) -> str:
    """Return JSON for a script element. Characters that could end the element are escaped."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _dataset(dataset: DatasetReport) -> dict[str, Any]:
    return {
        "name": dataset.name,
        **vars(dataset.comparison),
        "alone": [vars(column) for column in dataset.class_table] if len(dataset.comparison.rows) == 1 else None,
        "errors": [vars(column) for column in dataset.error_table],
        "error_caption": dataset.error_caption,
        "plots": [_plot(plot) for plot in dataset.plots],
        "images": None if dataset.images is None else vars(dataset.images),
        "message": f"No images are shown: {dataset.error}" if dataset.error else dataset.missing,
    }


def _plot(plot: Plot) -> dict[str, Any]:
    images = {kind: f"data:image/webp;base64,{base64.b64encode(image).decode()}" for kind, image in plot.images.items()}
    return {"images": images, "caption": f"{plot.caption}.", "wide": plot.wide}
