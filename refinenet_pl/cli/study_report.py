"""`refinenet study report`: tables, plots and a page from what is finished of a study."""

import argparse
from pathlib import Path

from refinenet_pl.reports.report import report


def run(parser: argparse.ArgumentParser, args: list[str]) -> None:
    """Report on what is finished."""
    parser.description = "Write tables (Markdown, LaTeX, CSV), plots and a page from what is finished of a study."
    parser.add_argument("--output", type=Path, help="Folder to write to; by default RUNS/STUDY/report.")
    options = parser.parse_args(args)
    report(options.file, options.runs, options.output)
