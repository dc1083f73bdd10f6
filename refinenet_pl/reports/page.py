"""A study as one web page that needs nothing else: its table, its plots, and two rows' predictions side by side."""

import base64
import html
import io
import itertools
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from PIL import Image

from refinenet_pl.evaluation.bootstrap import LEVEL
from refinenet_pl.evaluation.comparison import difference
from refinenet_pl.evaluation.results import defined
from refinenet_pl.reports.columns import main_columns, sources
from refinenet_pl.reports.notes import caption, explanations, warnings
from refinenet_pl.reports.plots import COLUMN, RESOLUTION
from refinenet_pl.reports.summary import Row, Summary
from refinenet_pl.reports.viewer import ReportImages


def page(summary: Summary, plots: Sequence[tuple[bytes, str]], shown: ReportImages | str) -> str:
    """The page's HTML.

    Args:
        summary: The study.
        plots: The PNG of each, and its description.
        shown: Images and predictions, or why there are none.
    """
    content = {
        "table": [vars(column) for column in main_columns(summary)],
        "factors": len(summary.study.factors),
        "caption": caption(summary),
        "warnings": warnings(summary),
        "incomplete": summary.incomplete,
        "notes": [
            *(f"[{number}] {source}" for number, source in enumerate(sources(summary), 1)),
            *explanations(summary),
        ],
        "plots": [_plot(picture, description) for picture, description in plots],
        "pictures": None if isinstance(shown, str) else vars(shown),
        "refusal": shown if isinstance(shown, str) else "",
        **_classes(summary.finished),
    }
    parts = {"title": html.escape(summary.title), "content": embedded_json(content)}
    template = files("refinenet_pl.reports").joinpath("page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(title|content)\}\}", lambda match: parts[match[1]], template)


def embedded_json(content: Any) -> str:
    """JSON that nothing in it can end the script element around; every character that HTML could read is spelled out."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _classes(rows: Sequence[Row]) -> dict[str, Any]:
    """IoU of each class and their mean in each row, and the intervals of the differences of every two rows."""
    scores = [row.scores for row in rows if row.scores is not None]
    intervals = {}
    for (first, a), (second, b) in itertools.combinations(enumerate(scores), 2):
        compared = difference(a, b)
        intervals[f"{first}-{second}"] = [
            each["interval"] for each in [*compared["per_class_iou"].values(), compared["miou"]]
        ]
    return {
        "rows": [row.label for row in rows],
        "classes": list(scores[0].class_names),
        "iou": [[defined(value) for value in each.iou.tolist()] for each in scores],
        "intervals": intervals,
        "level": LEVEL,
    }


def _plot(picture: bytes, description: str) -> dict[str, Any]:
    width, _ = Image.open(io.BytesIO(picture)).size
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return {"src": source, "text": description, "large": width > RESOLUTION * COLUMN}
