"""The IoU of each class at each validation, with its change, as a table for W&B and TensorBoard."""

import math
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from refinenet_pl.evaluation import class_iou
from refinenet_pl.training.media import log_table, logged_step, shows_media
from refinenet_pl.training.task import SegmentationTask

COLUMNS = ("class", "IoU %", "change", "recall %", "most confused with", "confused %")


class ClassTable(Callback):
    """Logs a table per validation of a training.

    A row has the IoU of a class in percent, its change since the last validation in points, its recall, and the class
    that most of its other pixels are predicted as, with their share. A resumed training knows the last validation.
    """

    def __init__(self) -> None:
        self.previous: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the IoU of each class at the last validation."""
        return {"previous": self.previous}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the IoU of each class at the last validation."""
        self.previous = dict(state_dict["previous"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: SegmentationTask) -> None:  # type: ignore[override]
        """Log the table, except of a sanity check."""
        if trainer.state.fn != "fit" or trainer.sanity_checking or not any(map(shows_media, trainer.loggers)):
            return
        matrix = pl_module.confusion.compute()  # summed over the devices: every rank must call it
        if not trainer.is_global_zero:
            return
        rows = class_rows(matrix, pl_module.preprocessing.class_names, self.previous)
        for logger in trainer.loggers:
            log_table(logger, "val/classes", COLUMNS, rows, logged_step(trainer))
        self.previous = {row[0]: row[1] for row in rows if row[1] is not None}


def class_rows(matrix: Tensor, class_names: Any, previous: dict[str, float]) -> list[list[Any]]:
    """Return one row per class under `COLUMNS`; None where a value is undefined.

    Args:
        matrix: The confusion matrix; rows are the target.
        class_names: One name per class.
        previous: IoU in percent at the last validation, by class.
    """
    rows = []
    shares = 100 * matrix.double() / matrix.sum(1, keepdim=True)
    for index, (name, iou) in enumerate(zip(class_names, class_iou(matrix).tolist(), strict=True)):
        value = None if math.isnan(iou) else 100 * iou
        change = value - previous[name] if value is not None and name in previous else None
        others = shares[index].clone()
        recall = float(others[index])
        others[index] = 0
        most = int(others.argmax())
        confused = float(others[most])
        known = not math.isnan(recall)  # else the split lacks the class
        rows.append(
            [name, value, change]
            + ([recall, class_names[most] if confused else None, confused] if known else [None, None, None])
        )
    return rows
