"""A report's rows as CSV, in full precision."""

import csv
import io

from refinenet_pl.reports.assemble import Report

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""First characters of a formula in Excel, LibreOffice or Google Sheets."""


def csv_table(report: Report) -> str:
    """Return the records as CSV: metrics in 0..1, seconds, MB; empty where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(no_formula, report.records[0]))
    writer.writerows(map(no_formula, record.values()) for record in report.records)
    return text.getvalue()


def no_formula(value: object) -> object:
    """Return a cell of a CSV file. A text that spreadsheets would compute as a formula gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
