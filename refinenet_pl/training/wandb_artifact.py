"""The best checkpoint of a training as an artifact of W&B."""

import re

import pytorch_lightning as pl
import wandb
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from refinenet_pl.files import read_json
from refinenet_pl.runs import RunFolder

NAME_LENGTH = 128
"""Longest name that W&B takes."""


@rank_zero_only
def log_best_checkpoint(trainer: pl.Trainer, run: RunFolder) -> None:
    """Log the evaluated checkpoint of a run as a new version of the artifact of its experiment.

    Its metadata name the mean IoU, the step, the classes, the code, and the fingerprints of the training data, which
    also link versions that were trained on the same data: an offline run cannot declare artifacts that it used.

    Args:
        trainer: The trainer, with its loggers.
        run: The run folder, with the results of the final evaluation.
    """
    results, manifest = run.read_results(), read_json(run.manifest, "train the run again")
    checkpoint, code = results["origin"]["checkpoint"], results["origin"]["code"]
    metadata = {
        "miou": results["miou"],
        "split": results["split"],
        "step": checkpoint["step"],
        "classes": list(results["per_class_iou"]),
        "code": code,
        "data": manifest["data"],
        "run": run.name,
    }
    name = re.sub(r"[^\w.-]", "-", run.path.resolve().parent.name)[:NAME_LENGTH]
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            artifact = wandb.Artifact(name, "model", metadata=metadata)
            # Without a copy: the run folder keeps the file.
            artifact.add_file(checkpoint["path"], name=run.best_checkpoint.name, policy="immutable")
            logger.experiment.log_artifact(artifact, aliases=[run.name])
