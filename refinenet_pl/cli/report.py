"""`refinenet report`: tables, plots and a page of one run or a few."""

from pathlib import Path

from refinenet_pl.cli.parser import Parser
from refinenet_pl.cli.study import add_trust_option
from refinenet_pl.reports.run_report import report_runs

DESCRIPTION = """Write tables (Markdown, LaTeX, CSV), plots and a page of finished runs on the same images. Runs that
differ only in their seeds are one row. The other rows are compared with the first one. The images of the page are
predicted with the runs' checkpoints, if these and the data are there. Nothing is written to the run folders."""


def run(name: str, args: list[str]) -> None:
    """Parse the options and write the report."""
    parser = Parser(prog=f"refinenet {name}", description=DESCRIPTION)
    parser.add_argument("runs", nargs="+", type=Path, help="Run folders, such as runs/EXPERIMENT/TIME.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("report"),
        help="Folder to write to: a new one, or one with an earlier report of this command.",
    )
    add_trust_option(parser)
    options = parser.parse_args(args)
    report_runs(options.runs, options.output, options.trust)
