"""A study's tables, and charts of its runs, as a report of W&B."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

import wandb

from refinenet_pl.errors import UserError
from refinenet_pl.servers import answers
from refinenet_pl.studies.study import Study
from refinenet_pl.studies.sweep import logger_argument
from refinenet_pl.training.media import STEP

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report

CURVES = ("val/miou", "val/loss", "train/loss")


def check_wandb(study: Study) -> None:
    """Check that a study can have a report of W&B.

    Raises:
        UserError: The package is not installed, the study does not log to W&B, or W&B cannot be reached.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError("--wandb needs W&B's package for reports: pip install 'refinenet-pl[wandb-reports]'")
    if logger_argument(study, "project") is None:
        raise UserError(
            f"{study.path}: its cells log to no project of W&B, so that a report there would show no runs; expected "
            "trainer.logger with WandbLogger and a project in the study's base"
        )
    if not wandb.login(prompt=False, verify=False):
        raise UserError("--wandb: not logged in to W&B; run `wandb login`, or leave out --wandb")
    address = wandb.setup().settings.base_url
    if not answers(address):
        raise UserError(f"--wandb: no answer from {address}; try again with a network, or leave out --wandb")


def wandb_report(study: Study, text: str) -> "Report":
    """Return the report. It shows the runs of the study's project that the study has logged.

    Args:
        study: The study.
        text: The report as Markdown. Its plots stay out: they are files.
    """
    from wandb_workspaces import expr
    from wandb_workspaces.reports import v2

    project = logger_argument(study, "project") or ""
    report = v2.Report(project=project, title=study.name[:128], width="fluid")
    report.entity = logger_argument(study, "entity") or report.entity  # by default that of the login
    mine = [expr.Config("study") == study.name]
    runs = v2.Runset(project=project, entity=report.entity, name=study.name, filters=mine)
    curves = [v2.LinePlot(title=name, x=STEP, y=[name]) for name in CURVES]
    bars = v2.BarPlot(title="mean IoU of the best checkpoint", metrics=["final/miou"])
    tables = "\n".join(line for line in text.splitlines() if not line.startswith("!["))
    report.blocks = [v2.MarkdownBlock(text=tables), v2.PanelGrid(runsets=[runs], panels=[*curves, bars])]
    return report


def upload(study: Study, text: str) -> str:
    """Upload the report, and return its address. See `wandb_report`."""
    report = wandb_report(study, text)
    report.save()
    return str(report.url)
