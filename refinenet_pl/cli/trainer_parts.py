"""What every run adds to the trainer: callbacks and plugins."""

import shlex
import sys
from typing import Any

from jsonargparse import Namespace
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins import CheckpointIO
from pytorch_lightning.plugins.environments import ClusterEnvironment, SLURMEnvironment

from refinenet_pl.cli.continuation import Start
from refinenet_pl.cli.run_recorder import RunRecorder
from refinenet_pl.training.checkpoint_files import CheckpointFiles
from refinenet_pl.training.class_table import ClassTable
from refinenet_pl.training.costs import TrainingCosts
from refinenet_pl.training.finite import StopOnNonFinite
from refinenet_pl.training.first_steps import FirstSteps
from refinenet_pl.training.interruption import Interruption
from refinenet_pl.training.manifest import ManifestWriter
from refinenet_pl.training.picture_logger import PictureLogger
from refinenet_pl.training.picture_writer import PictureWriter
from refinenet_pl.training.random_state import RandomState
from refinenet_pl.training.results_writer import ResultsWriter
from refinenet_pl.training.resume_position import ResumePosition
from refinenet_pl.training.run_progress import RunProgress


def training_callbacks(config: Namespace, start: Start, saved: dict[str, Any]) -> list[Callback]:
    """Return the callbacks of `fit`.

    Args:
        config: The configuration of the command.
        start: Where the run starts.
        saved: The configuration as plain values, which files of the run hold.
    """
    if config.trainer.fast_dev_run:
        return [*run_progress(config), StopOnNonFinite()]
    return [
        *_recorders(config, start, saved),
        *(ClassTable(), PictureLogger(config.pictures)),  # before TrainingCosts: they are a part of the validation
        *(ManifestWriter(saved), ResumePosition(), RandomState(), TrainingCosts()),
        *(StopOnNonFinite(saved), FirstSteps(compiled=config.model.compile)),
        Interruption(start.folder.last_checkpoint),
    ]


def evaluation_callbacks(config: Namespace, start: Start, saved: dict[str, Any]) -> list[Callback]:
    """Return the callbacks of `validate` and `test`. See `training_callbacks`."""
    if config.trainer.fast_dev_run:
        return run_progress(config)
    return [*_recorders(config, start, saved), Interruption()]


def _recorders(config: Namespace, start: Start, saved: dict[str, Any]) -> list[Callback]:
    command = shlex.join(["refinenet", *sys.argv[1:]])
    return [
        RunRecorder(start, saved, command),
        ResultsWriter(saved, command),
        PictureWriter(config.pictures),
        *run_progress(config),
    ]


def run_progress(config: Namespace) -> list[Callback]:
    """Return what shows the progress of a run; nothing if it is off."""
    return [] if config.trainer.enable_progress_bar is False else [RunProgress()]


def trainer_plugins(configured: Any) -> list[Any]:
    """Return the plugins of the configuration, and those that every run has unless the configuration replaces them."""
    plugins = configured if isinstance(configured, list) else [configured]
    plugins = [plugin for plugin in plugins if plugin is not None]
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(CheckpointFiles())
    if SLURMEnvironment.detect() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
        # Interruption saves and requeues: Lightning's own way leaves a checkpoint that a new run folder hides.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins
