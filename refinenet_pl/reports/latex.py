"""A report's main table as LaTeX, for use in a paper."""

import itertools
import re
from collections.abc import Iterable, Sequence

from refinenet_pl.reports.assemble import Report
from refinenet_pl.reports.columns import Column


def latex(report: Report) -> str:
    """Return the tables of rows, as wide as the page. They need the packages booktabs, graphicx and xcolor."""
    label = re.sub("[^A-Za-z0-9]+", "-", report.name)
    notes = [*report.numbered_sources, *(report.warnings if report.incomplete else [])]
    lines = ["% Needs \\usepackage{booktabs, graphicx, xcolor} and UTF-8 encoding."]
    lines += _table(report.table, report.factors, f"{report.title}. {report.caption}", label, notes)
    if report.costs:
        lines += _table(report.costs, report.factors, f"{report.title}. Costs.", f"{label}-costs", [])
    return "\n".join(lines) + "\n"


def _table(columns: Sequence[Column], factors: int, caption: str, label: str, notes: Sequence[str]) -> list[str]:
    return [
        "\\begin{table*}",
        "  \\centering",
        f"  \\caption{{{escape(caption)}}}",
        f"  \\label{{tab:{label}}}",
        "  \\resizebox{\\linewidth}{!}{",
        f"  \\begin{{tabular}}{{{'l' * factors}{'r' * (len(columns) - factors)}}}",
        "    \\toprule",
        *_groups(columns),
        f"    {_line(escape(column.heading) for column in columns)}",
        "    \\midrule",
        *(f"    {_line(cells)}" for cells in zip(*(_cells(column) for column in columns), strict=True)),
        "    \\bottomrule",
        "  \\end{tabular}}",
        *(f"  \\par {escape(note)}" for note in notes),
        "\\end{table*}",
    ]


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _cells(column: Column) -> list[str]:
    """The escaped cells of a column; those on weak evidence in gray."""
    weak = column.weak or [False] * len(column.cells)
    pairs = zip(map(escape, column.cells), weak, strict=True)
    return [f"\\textcolor{{gray}}{{{cell}}}" if gray and cell != "--" else cell for cell, gray in pairs]


def _groups(columns: Sequence[Column]) -> list[str]:
    """The names of the datasets over their columns, with a rule below each; nothing without datasets."""
    cells, rules, first = [], [], 1
    for group, members in itertools.groupby(columns, key=lambda column: column.group):
        count = len(list(members))
        if group is None:
            cells += [""] * count
        else:
            cells.append(f"\\multicolumn{{{count}}}{{c}}{{{escape(group)}}}")
            rules.append(f"\\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    return [f"    {' & '.join(cells)} \\\\", f"    {' '.join(rules)}"] if rules else []


ESCAPES = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "·": "$\\cdot$",
    "−": "$-$",
    "–": "--",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    # At the start of a row, LaTeX would read these as an argument of the previous row's end.
    **{character: f"{{{character}}}" for character in "[]*"},
}


def escape(text: str) -> str:
    """Escape the special characters of LaTeX, and put the text on one line."""
    return "".join(ESCAPES.get(character, character) for character in " ".join(text.split()))
