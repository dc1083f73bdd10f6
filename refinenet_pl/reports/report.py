"""`study report`: what a study found so far, as tables, plots and a page."""

from pathlib import Path

from refinenet_pl.errors import UserError
from refinenet_pl.files import atomic_write
from refinenet_pl.reports.documents import comma_separated, latex, markdown
from refinenet_pl.reports.notes import warnings
from refinenet_pl.reports.page import page
from refinenet_pl.reports.plots import encoded, plots
from refinenet_pl.reports.summary import Summary, summarize_study
from refinenet_pl.reports.viewer import ReportImages, pictures
from refinenet_pl.studies.loading import load_study


def report(study_file: Path, runs: Path = Path("runs"), output: Path | None = None) -> None:
    """Write report.md, report.csv, report.tex, report.html and the plots of a study, as far as it has got.

    Args:
        study_file: The study's yaml.
        runs: The folder under which its runs lie.
        output: Folder to write to; by default RUNS/STUDY/report.
    """
    study = load_study(study_file)
    output = output or runs / study.name / "report"
    summary = summarize_study(study, runs)
    drawn = {
        name: ({kind: encoded(figure, kind) for kind in ("png", "pdf")}, description)
        for name, (figure, description) in plots(summary).items()
    }
    for name, (files, _) in drawn.items():
        for kind, content in files.items():
            _write(output / f"{name}.{kind}", content)
    documents = {
        "md": markdown(summary, [(f"{name}.png", description) for name, (_, description) in drawn.items()]),
        "csv": comma_separated(summary),
        "tex": latex(summary),
        "html": page(summary, [(files["png"], description) for files, description in drawn.values()], _shown(summary)),
    }
    for kind, text in documents.items():
        _write(output / f"report.{kind}", text.encode())
    print("\n".join(warnings(summary)))
    print(f"report: {output}/report.html ({len(documents['html']) / 1e6:.1f} MB), and report.md, .csv, .tex, plots")


def _shown(summary: Summary) -> ReportImages | str:
    """Predictions for the page, or why there are none: a report is of use without them."""
    try:
        return pictures(summary)
    except UserError as error:
        print(f"the page shows no predictions: {error}")
        return str(error)


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write_bytes(content)
