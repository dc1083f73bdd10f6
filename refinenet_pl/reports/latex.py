"""A report's main table as LaTeX, for use in a paper."""

import itertools
import re
from collections.abc import Iterable, Sequence

from refinenet_pl.reports.assemble import Report
from refinenet_pl.reports.columns import Column


def latex(report: Report) -> str:
    """Return the main table, as wide as the page. It needs the packages booktabs and graphicx."""
    columns, factors = report.table, report.factors
    lines = [
        "% Needs \\usepackage{booktabs, graphicx} and UTF-8 encoding.",
        "\\begin{table*}",
        "  \\centering",
        f"  \\caption{{{escape(f'{report.title}. {report.caption}')}}}",
        f"  \\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', report.name)}}}",
        "  \\resizebox{\\linewidth}{!}{",
        f"  \\begin{{tabular}}{{{'l' * factors}{'r' * (len(columns) - factors)}}}",
        "    \\toprule",
        *_groups(columns),
        f"    {_row(column.heading for column in columns)}",
        "    \\midrule",
        *(f"    {_row(row)}" for row in zip(*(column.cells for column in columns), strict=True)),
        "    \\bottomrule",
        "  \\end{tabular}}",
        *(f"  \\par {escape(source)}" for source in report.numbered_sources),
        *(f"  \\par {escape(line)}" for line in report.warnings if report.incomplete),
        "\\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return " & ".join(map(escape, cells)) + " \\\\"


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
    """Escape the special characters of LaTeX."""
    return "".join(ESCAPES.get(character, character) for character in text)
