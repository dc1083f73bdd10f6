"""A study's tables as Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Sequence

from refinenet_pl.evaluation.bootstrap import LEVEL
from refinenet_pl.evaluation.results import defined
from refinenet_pl.reports.columns import Column, class_columns, main_columns, published_difference, sources
from refinenet_pl.reports.notes import caption, explanations, listed, warnings
from refinenet_pl.reports.summary import Row, Summary


def markdown(summary: Summary, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """The whole report but for the page: tables, notes and pictures.

    Args:
        summary: The study.
        pictures: File and description of each.
    """
    parts = [
        f"# {summary.title}",
        caption(summary),
        _markdown_table(main_columns(summary)),
        "\n".join(f"[{number}] {source}  " for number, source in enumerate(sources(summary), 1)),
        "\n".join(f"- {line}" for line in [*warnings(summary), *explanations(summary)]),
        "## Classes",
        f"IoU in percent, mean over seeds; in brackets the difference to {summary.rows[0].label} in points, with * "
        f"where its {100 * LEVEL:g} % interval over the images excludes zero.",
        _markdown_table(class_columns(summary)),
        *(f"![{description}]({file})" for file, description in pictures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_table(columns: Sequence[Column]) -> str:
    lines = [[column.heading for column in columns], ["---", *["---:"] * (len(columns) - 1)]]
    lines += map(list, zip(*(column.cells for column in columns), strict=True))
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def latex(summary: Summary) -> str:
    """A table for another document, as wide as its page, which needs the packages booktabs and graphicx."""
    columns, factors = main_columns(summary), len(summary.study.factors)
    lines = [
        "% Needs \\usepackage{booktabs, graphicx}, and the encoding UTF-8.",
        "\\begin{table*}",
        "  \\centering",
        f"  \\caption{{{escaped(f'{summary.title}. {caption(summary)}')}}}",
        f"  \\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', summary.study.name)}}}",
        "  \\resizebox{\\linewidth}{!}{",
        f"  \\begin{{tabular}}{{{'l' * factors}{'r' * (len(columns) - factors)}}}",
        "    \\toprule",
        f"    {_latex_row([column.heading for column in columns])}",
        "    \\midrule",
        *(f"    {_latex_row(row)}" for row in zip(*(column.cells for column in columns), strict=True)),
        "    \\bottomrule",
        "  \\end{tabular}}",
        *(f"  \\par [{number}] {escaped(source)}" for number, source in enumerate(sources(summary), 1)),
        *(f"  \\par {escaped(line)}" for line in warnings(summary) if summary.incomplete),
        "\\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + " \\\\"


LATEX = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "·": "$\\cdot$",
    "−": "$-$",
    "–": "--",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{
        character: f"{{{character}}}" for character in "[]*"
    },  # which at a row's start would belong to the last row's end
}


def escaped(words: str) -> str:
    """Words as LaTeX prints them."""
    return "".join(LATEX.get(character, character) for character in words)


def comma_separated(summary: Summary) -> str:
    """Everything in full precision, one row a row: fractions in 0..1, seconds, MB; nothing where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = summary.finished[0].runs[0].images.class_names
    rows = [{**_row_figures(row, summary), **_class_figures(row, names)} for row in summary.rows]
    writer.writerow([*summary.study.factors, *rows[0]])
    writer.writerows([*row.levels.values(), *figures.values()] for row, figures in zip(summary.rows, rows, strict=True))
    return text.getvalue()


def _row_figures(row: Row, summary: Summary) -> dict[str, object]:
    metric, published = summary.study.metric, row.published
    low, high = row.interval(metric) or (None, None)
    return {
        "metric": metric,
        "mean": row.mean,
        "std": row.std,
        "seeds": listed([run.cell.seed for run in row.runs]),
        "values": listed(row.values),
        "difference": row.difference,
        "difference_low": low,
        "difference_high": high,
        "published": published and published.value / 100,
        "published_verified": published and published.verified,
        "published_source": published and published.source,
        "ours_minus_published": published_difference(row),
        **vars(row.costs),
    }


def _class_figures(row: Row, names: Sequence[str]) -> dict[str, object]:
    figures: dict[str, object] = {}
    for index, name in enumerate(names):
        compared = {} if row.compared is None else row.compared["per_class_iou"][name]
        low, high = compared.get("interval") or (None, None)
        figures[f"iou {name}"] = None if row.scores is None else defined(float(row.scores.iou[index]))
        figures[f"difference {name}"] = compared.get("difference")
        figures[f"low {name}"], figures[f"high {name}"] = low, high
    return figures
