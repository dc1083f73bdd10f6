"""`report`: tables, plots and a page of a few runs, which are no study."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from refinenet_pl.errors import UserError
from refinenet_pl.files import read_json, write_json
from refinenet_pl.outputs import Output, check_outputs
from refinenet_pl.reports.assemble import assemble
from refinenet_pl.reports.given_runs import read_runs
from refinenet_pl.reports.page_images import Selection, select_images
from refinenet_pl.reports.predictions import describe_costs, predict_missing, prediction_command
from refinenet_pl.reports.report import write_report
from refinenet_pl.reports.run_summary import summarize_runs
from refinenet_pl.runs import RunFolder

MARKER = "report.json"
"""The file that tells a report of this command from other folders. It lists the runs."""
PREDICTIONS = "predictions"


def report_runs(runs: Sequence[str | Path], output: str | Path = Path("report"), trust: bool = False) -> None:
    """Write report.md, report.csv, report.tex, report.html and the plots of some runs.

    Runs that differ only in their seeds are one row. The images of the page are predicted with `refinenet predict` by
    the first seed of each row, and the masks are kept in `predictions/` of the output. Nothing is written to the runs.

    Args:
        runs: Folders of finished runs. The others are compared with the first one.
        output: Folder to write to.
        trust: Whether the runs' configurations may name any class, instead of those of this package.

    Raises:
        UserError: A folder is no finished run, a file cannot be read, the targets of the runs differ, or the output
            holds something other than a report of this command.
    """
    paths, output = [Path(run) for run in runs], Path(output)
    found = read_runs(paths, output / PREDICTIONS)
    _check_output(output, found[0].folder)
    summary = summarize_runs(found)
    reasons = _predict(select_images(summary.datasets[0].first_runs), trust)
    write_json(output / MARKER, {"runs": [str(path) for path in paths]})
    write_report(assemble(replace(summary, prediction_advice=" ".join(dict.fromkeys(reasons))), trust), output)


def _check_output(output: Path, run: RunFolder) -> None:
    place = output.resolve()
    for parent in (place, *place.parents):
        if RunFolder(parent).config.is_file() and RunFolder(parent).finished:
            raise UserError(f"{output}: is in {parent}, and a finished run is not changed; choose another --output")
    check_outputs([Output(output / "report.html", run.results)], "--output")
    if not output.is_dir() or {path.name for path in output.iterdir()} <= {PREDICTIONS}:
        return
    if not (output / MARKER).is_file():
        raise UserError(
            f"{output}: holds other files than a report of this command, whose {MARKER} is missing; choose another "
            "--output, such as a new folder"
        )
    read_json(output / MARKER, "choose another --output", {"runs": list})


def _predict(selection: Selection, trust: bool) -> list[str]:
    """Predict the missing images. Return why some are still missing: a report does not need them."""
    reasons, pending = [], []
    for run in selection.incomplete_runs:
        try:
            pending.append((run, prediction_command(run, trust)))
        except UserError as error:
            reasons.append(str(error))
    if pending:
        print(describe_costs(selection, [run for run, _ in pending]))
    for run, command in pending:
        try:
            predict_missing(selection, run, command, trust)
        except UserError as error:
            reasons.append(str(error))
    return reasons
