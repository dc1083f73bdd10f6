"""Tables, pictures and charts for the loggers that show them: W&B and TensorBoard. Others get nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import wandb
import yaml
from matplotlib.figure import Figure
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from refinenet_pl.data.classes import IGNORE_INDEX
from refinenet_pl.evaluation.pictures import colorize
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.text import markdown_text

BEST = "val/miou"
STEP = "trainer/global_step"
"""Lightning's key of the step in W&B."""
MAX_LABELED = 40
"""Most classes whose names fit on the axes of a confusion matrix."""


class Picture(NamedTuple):
    """Masks, and the image under them.

    Attributes:
        masks: Class indices [H, W], or 255, by the name of the mask.
        image: uint8 [H, W, 3]; None shows the first mask in the colors of the classes.
    """

    masks: Mapping[str, np.ndarray]
    image: np.ndarray | None = None


def shows_media(logger: Logger) -> bool:
    """Return whether a logger shows tables and pictures."""
    return isinstance(logger, WandbLogger | TensorBoardLogger)


def logged_step(trainer: pl.Trainer) -> int:
    """Return the step under which Lightning logs a validation: the number of optimizer steps before the last one."""
    return max(trainer.global_step - 1, 0)


def start_logging(logger: Logger, config: Mapping[str, Any]) -> None:
    """Log the configuration of a run, and let W&B's summary keep the best mean IoU of the validations."""
    logger.log_hyperparams(dict(config))
    if isinstance(logger, WandbLogger):
        logger.experiment.define_metric(BEST, step_metric=STEP, summary="max")
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_text("config", f"```yaml\n{yaml.safe_dump(dict(config), sort_keys=False)}```")


def log_best(trainer: pl.Trainer) -> None:
    """Correct the best mean IoU in W&B's summary, which counts the newest part of a resumed training only."""
    scores = [
        float(callback.best_model_score)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.monitor == BEST and callback.best_model_score is not None
    ]
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and scores:
            logger.experiment.summary[BEST] = {"max": max(scores)}


def log_table(logger: Logger, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
    """Log a table: W&B's own, or Markdown for TensorBoard."""
    if isinstance(logger, WandbLogger):
        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        logger.experiment.log({name: table, STEP: step})
    elif isinstance(logger, TensorBoardLogger):
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
        logger.experiment.add_text(name, text, step)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else markdown_text(str(value))


def log_pictures(logger: Logger, pictures: Mapping[str, Picture], preprocessing: Preprocessing, step: int) -> None:
    """Log pictures: with masks that W&B can switch on and off, or beside their masks for TensorBoard.

    Args:
        logger: The logger.
        pictures: The pictures by name.
        preprocessing: Names and colors of the classes.
        step: The step.
    """
    colors = preprocessing.class_colors
    if isinstance(logger, WandbLogger):
        labels = dict(enumerate(preprocessing.class_names)) | {IGNORE_INDEX: "ignored"}
        images = {}
        for name, (masks, image) in pictures.items():
            shown = colorize(next(iter(masks.values())), colors) if image is None else image
            overlays = {key: {"mask_data": mask, "class_labels": labels} for key, mask in masks.items()}
            images[name] = wandb.Image(shown, masks=overlays)
        logger.experiment.log({**images, STEP: step})
    elif isinstance(logger, TensorBoardLogger):
        for name, (masks, image) in pictures.items():
            parts = [*([] if image is None else [image]), *(colorize(mask, colors) for mask in masks.values())]
            logger.experiment.add_image(name, side_by_side(parts), step, dataformats="HWC")


def side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return images [H, W, 3] of one size in a row, with white gaps of 8 pixels."""
    gap = np.full((len(images[0]), 8, 3), 255, np.uint8)
    return np.hstack([part for image in images for part in (gap, image)][1:])


def log_confusion_matrix(logger: Logger, matrix: Sequence[Sequence[int]], class_names: list[str], step: int) -> None:
    """Log a confusion matrix in percent of each target class: W&B's chart, or a picture for TensorBoard."""
    counts = np.asarray(matrix, np.float64)
    shares = 100 * counts / counts.sum(1, keepdims=True).clip(1)
    if isinstance(logger, WandbLogger):
        columns = ["Actual", "Predicted", "nPredictions"]
        cells = [[a, b, round(shares[i, j], 2)] for i, a in enumerate(class_names) for j, b in enumerate(class_names)]
        chart = wandb.plot_table(
            "wandb/confusion_matrix/v1",
            wandb.Table(columns=[*columns], data=cells),
            dict(zip(columns, columns, strict=True)),
            {"title": "Confusion matrix, % of each target class"},
        )
        logger.experiment.log({"final/confusion_matrix": chart, STEP: step})
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_figure("final/confusion_matrix", confusion_figure(shares, class_names), step)


def confusion_figure(shares: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draw a confusion matrix in percent [C, C]; rows are the target."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    figure.colorbar(axes.imshow(shares, vmin=0, vmax=100, cmap="viridis"), label="% of the target's pixels")
    axes.set(xlabel="prediction", ylabel="target")
    if len(class_names) <= MAX_LABELED:
        ticks = range(len(class_names))
        axes.set_xticks(ticks, class_names, rotation=90)
        axes.set_yticks(ticks, class_names)
    return figure
