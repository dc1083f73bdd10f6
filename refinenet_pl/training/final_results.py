"""Logs the results of the final evaluation of a training, and its costs."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.runs import RunFolder
from refinenet_pl.training.media import log_best, log_confusion_matrix, log_table

MEANS = ("miou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")
COLUMNS = ("class", "IoU %", "low %", "high %", "boundary IoU %")


@rank_zero_only
def log_results(trainer: pl.Trainer, run: RunFolder) -> None:
    """Pass the results and costs of a run to the loggers of its training, at the step at which it ended.

    Args:
        trainer: The trainer, after the final evaluation.
        run: The run folder.
    """
    results = run.read_results()
    metrics = final_metrics(results) | {f"cost/{name}": value for name, value in (run.read_costs() or {}).items()}
    defined = {name: value for name, value in metrics.items() if value is not None}
    for logger in trainer.loggers:
        logger.log_metrics(defined, step=trainer.global_step)
        log_table(logger, "final/classes", COLUMNS, final_rows(results), trainer.global_step)
        log_confusion_matrix(logger, results["confusion_matrix"], list(results["per_class_iou"]), trainer.global_step)
        logger.save()
    log_best(trainer)


def final_metrics(results: dict[str, Any]) -> dict[str, float | None]:
    """Return the means and the IoU of each class from the content of results.json, as loggers name them."""
    low, high = results["intervals"]["miou"] or (None, None)
    metrics = {f"final/{name}": results[name] for name in MEANS}
    metrics |= {"final/boundary_iou": results["boundary_iou"]["mean"], "final/miou/low": low, "final/miou/high": high}
    return metrics | {f"final/iou/{name}": iou for name, iou in results["per_class_iou"].items()}


def final_rows(results: dict[str, Any]) -> list[list[Any]]:
    """Return a row per class under `COLUMNS`, in percent; None where a value is undefined."""
    intervals, boundaries = results["intervals"]["per_class_iou"], results["boundary_iou"]["per_class"]
    rows = []
    for name, iou in results["per_class_iou"].items():
        values = (iou, *(intervals[name] or (None, None)), boundaries[name])
        rows.append([name, *(None if value is None else 100 * value for value in values)])
    return rows
