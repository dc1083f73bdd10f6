"""`refinenet study report`: tables, plots and a page from the finished cells of a study."""

from pathlib import Path

from refinenet_pl.cli.study import add_trust_option, study_parser
from refinenet_pl.reports.report import report


def run(name: str, args: list[str]) -> None:
    """Parse the options and write the report."""
    parser = study_parser(name, "Write tables (Markdown, LaTeX, CSV), plots and a page from the finished cells.")
    parser.add_argument("--output", type=Path | None, help="Folder to write to. The default is RUNS/STUDY/report.")
    parser.add_argument("--wandb", action="store_true", help="Upload tables and charts as a report of W&B too.")
    add_trust_option(parser)
    options = parser.parse_args(args)
    report(options.file, options.runs, options.output, options.trust, options.wandb)
