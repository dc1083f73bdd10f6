"""A report's rows as CSV, in full precision."""

import csv
import io

from refinenet_pl.reports.assemble import Report


def csv_table(report: Report) -> str:
    """Return the records as CSV: metrics in 0..1, seconds, MB; empty where there is no value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(report.records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(report.records)
    return text.getvalue()
