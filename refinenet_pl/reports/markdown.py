"""A report as Markdown: tables, notes and plots."""

from collections.abc import Sequence

from refinenet_pl.reports.assemble import DatasetReport, Report
from refinenet_pl.reports.columns import Column
from refinenet_pl.text import markdown_text


def markdown(report: Report) -> str:
    """Return the report as Markdown. It refers to the plots' PNG files."""
    parts = [
        f"# {markdown_text(report.title)}",
        markdown_text(report.caption),
        _table(report.table),
        "\n".join(f"{markdown_text(source)}  " for source in report.numbered_sources),
        *(["## Costs", _table(report.costs)] if report.costs else []),
        "\n".join(f"- {markdown_text(line)}" for line in [*report.warnings, *report.notes]),
        *(part for dataset in report.datasets for part in _dataset(dataset)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _dataset(dataset: DatasetReport) -> list[str]:
    return [
        "## Classes" if dataset.name is None else f"## Classes of {markdown_text(dataset.name)}",
        markdown_text(dataset.class_caption),
        _table(dataset.class_table),
        *_errors(dataset),
        *(f"![{markdown_text(plot.caption)}]({plot.name}.png)" for plot in dataset.plots),
    ]


def _errors(dataset: DatasetReport) -> list[str]:
    if not dataset.error_table:
        return []
    heading = "## Errors" if dataset.name is None else f"## Errors on {markdown_text(dataset.name)}"
    return [heading, markdown_text(dataset.error_caption), _table(dataset.error_table)]


def _table(columns: Sequence[Column]) -> str:
    lines = [[column.title for column in columns], ["---", *["---:"] * (len(columns) - 1)]]
    lines += map(list, zip(*(column.cells for column in columns), strict=True))
    return "\n".join(f"| {' | '.join(map(markdown_text, line))} |" for line in lines)
