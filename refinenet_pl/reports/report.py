"""`study report`: tables, plots and a page from the finished cells of a study."""

from pathlib import Path

from refinenet_pl.files import atomic_write
from refinenet_pl.outputs import Output, check_outputs
from refinenet_pl.reports.assemble import Report, assemble
from refinenet_pl.reports.csv_table import csv_table
from refinenet_pl.reports.latex import latex
from refinenet_pl.reports.markdown import markdown
from refinenet_pl.reports.page import page
from refinenet_pl.reports.study_summary import summarize_study
from refinenet_pl.reports.wandb_report import check_wandb, upload
from refinenet_pl.studies.added_seeds import with_added_seeds
from refinenet_pl.studies.folders import study_folder
from refinenet_pl.studies.loading import load_study


def report(
    study_file: str | Path,
    runs: str | Path = Path("runs"),
    output: str | Path | None = None,
    trust: bool = False,
    wandb: bool = False,
) -> None:
    """Write report.md, report.csv, report.tex, report.html and the plots of a study's finished cells.

    No process is started. The page shows the predictions that `make_pictures` has made before.

    Args:
        study_file: YAML of the study.
        runs: Folder of all runs.
        output: Folder to write to. The default is RUNS/STUDY/report.
        trust: Whether the runs' configurations may name any class, instead of those of this package and the study.
        wandb: Whether to upload the tables and charts of the runs as a report of W&B too.

    Raises:
        UserError: No cell has finished, a file cannot be read, or the folder cannot be written; or W&B's package for
            reports is not installed, or the study does not log to W&B.
    """
    runs = Path(runs)
    study = with_added_seeds(load_study(Path(study_file)), runs)
    output = study_folder(runs, study) / "report" if output is None else Path(output)
    check_outputs([Output(output / "report.html", Path(study_file))], "--output")
    if wandb:
        check_wandb(study)
    assembled = assemble(summarize_study(study, runs), trust)
    write_report(assembled, output)
    if wandb:
        print(f"W&B report: {upload(study, markdown(assembled))}")


def write_report(assembled: Report, output: Path) -> None:
    """Write the files of a report, and print what is missing.

    Args:
        assembled: The report.
        output: The folder.
    """
    texts = {
        "report.md": markdown(assembled),
        "report.csv": csv_table(assembled),
        "report.tex": latex(assembled),
        "report.html": page(assembled),
    }
    contents = {name: text.encode() for name, text in texts.items()}
    for plot in (plot for dataset in assembled.datasets for plot in dataset.plots):
        contents |= plot.files
    for name, content in contents.items():
        with atomic_write(output / name) as file:
            file.write_bytes(content)
    errors = [f"The page shows no images: {dataset.error}" for dataset in assembled.datasets if dataset.error]
    for line in filter(None, [*assembled.warnings, assembled.missing, *errors]):
        print(line)
    print(f"report: {output}/report.html ({len(contents['report.html']) / 1e6:.1f} MB), report.md, .csv, .tex, plots")
