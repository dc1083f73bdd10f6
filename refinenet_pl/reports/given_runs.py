"""Reads the runs that a report is given, which are no study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.per_image import ImageMatrices
from refinenet_pl.files import file_digest
from refinenet_pl.reports.learning_curve import learning_curve
from refinenet_pl.reports.seed_runs import SeedRun, check_targets
from refinenet_pl.runs import RunFolder
from refinenet_pl.text import plural


def read_runs(paths: Sequence[Path], predictions: Path) -> list[SeedRun]:
    """Read finished runs.

    Args:
        paths: Their folders.
        predictions: Folder for a folder of predictions of each run.

    Raises:
        UserError: A folder is given twice or is no finished run, a file cannot be read, or the targets of the runs
            differ.
    """
    if twice := [path for place, path in enumerate(paths) if path.resolve() in map(Path.resolve, paths[:place])]:
        raise UserError(f"{twice[0]}: this run is given twice; give each run once")
    runs = [_read_run(RunFolder(path), predictions) for path in paths]
    check_targets(runs)
    return runs


def _read_run(folder: RunFolder, predictions: Path) -> SeedRun:
    if not folder.config.is_file():
        raise UserError(_no_run(folder))
    if not folder.finished:
        raise UserError(
            f"{folder.path}: found no {folder.results.name}, so the run is not finished. Wait for its end, or evaluate "
            f"its checkpoint: refinenet validate --ckpt_path {folder.path}"
        )
    results, images = folder.read_results(), ImageMatrices.load(folder.per_image)
    checkpoint, training = _evaluated(folder)
    seed = results.get("seed")
    # The hash tells runs of one name apart.
    digest = file_digest(folder.per_image)[:8]
    return SeedRun(
        seed=seed if type(seed) is int else None,
        folder=folder,
        training=training,
        checkpoint=checkpoint,
        predictions=predictions / f"{folder.path.resolve().name}-{digest}",
        named_classes=(),
        results=results,
        images=images,
    )


def _no_run(folder: RunFolder) -> str:
    expected = f"expected the folder of a run, such as runs/EXPERIMENT/TIME, with {folder.config.name}"
    below = sorted(file.parent for file in folder.path.glob(f"*/**/{folder.config.name}"))
    if not below:
        return f"{folder.path}: found no run; {expected}"
    return f"{folder.path}: found no run, but {plural(len(below), 'run')} in this folder; {expected}. Give {below[-1]}"


def _evaluated(folder: RunFolder) -> tuple[Path, RunFolder | None]:
    """Return the checkpoint that a run evaluated, and the folder of its training, if it still exists."""
    given = folder.read_config().get("ckpt_path")
    if given is not None:  # a run of `validate` or `test`
        return Path(str(given)), RunFolder.of_checkpoint(str(given))
    without_best = not folder.best_checkpoint.is_file() and not learning_curve(folder)
    return folder.last_checkpoint if without_best else folder.best_checkpoint, folder


def figure_config(run: SeedRun) -> dict[str, Any]:
    """Return the configuration that the figures of a run follow from: that of its training.

    If it only evaluates the checkpoint of another run, the data and the inference are its own.

    Raises:
        UserError: A configuration lacks a section.
    """
    own = _read_config(run.folder)
    if run.training is None or run.training == run.folder:
        return own
    trained = _read_config(run.training)
    inference = own["model"].get("inference")
    return {**trained, "data": own["data"], "model": {**trained["model"], "inference": inference}}


def _read_config(folder: RunFolder) -> dict[str, Any]:
    config = folder.read_config()
    for section in ("model", "data"):
        if not isinstance(config.get(section), dict):
            raise UserError(f"{folder.config}: found no section `{section}`, which `refinenet fit` saves")
    return config
