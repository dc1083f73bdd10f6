"""A report as Markdown: tables, notes and plots."""

from collections.abc import Sequence

from refinenet_pl.reports.assemble import DatasetReport, Report
from refinenet_pl.reports.columns import Column


def markdown(report: Report) -> str:
    """Return the report as Markdown. It refers to the plots' PNG files."""
    parts = [
        f"# {report.title}",
        report.caption,
        _table(report.table),
        "\n".join(f"{source}  " for source in report.numbered_sources),
        *(["## Costs", _table(report.costs)] if report.costs else []),
        "\n".join(f"- {line}" for line in [*report.warnings, *report.notes]),
        *(part for dataset in report.datasets for part in _dataset(dataset)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _dataset(dataset: DatasetReport) -> list[str]:
    return [
        "## Classes" if dataset.name is None else f"## Classes of {dataset.name}",
        dataset.class_caption,
        _table(dataset.class_table),
        *(f"![{plot.caption}]({plot.name}.png)" for plot in dataset.plots),
    ]


def _table(columns: Sequence[Column]) -> str:
    lines = [[column.title for column in columns], ["---", *["---:"] * (len(columns) - 1)]]
    lines += map(list, zip(*(column.cells for column in columns), strict=True))
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
