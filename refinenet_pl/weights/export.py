"""Weights folders from checkpoints of this package and from published weights."""

from pathlib import Path
from pydoc import ErrorDuringImport, locate
from typing import Any

from refinenet_pl import data
from refinenet_pl.data import DATASETS
from refinenet_pl.data.classes import Classes
from refinenet_pl.errors import UserError
from refinenet_pl.runs import RunFolder
from refinenet_pl.text import join, markdown_text
from refinenet_pl.weights.allowed import DATA
from refinenet_pl.weights.card import converted_card, trained_card
from refinenet_pl.weights.checkpoint import read_checkpoint, run_config
from refinenet_pl.weights.folder import write_weights_folder
from refinenet_pl.weights.loading import segmenter_from_checkpoint
from refinenet_pl.weights.published import PublishedWeights, published_preprocessing
from refinenet_pl.weights.trust import check_section


def dataset_classes(dataset: str, count: int) -> Classes:
    """Return the classes of a dataset.

    Args:
        dataset: Short name of a dataset.
        count: The number of classes that the network has.

    Raises:
        UserError: The dataset is unknown, or has another number of classes.
    """
    if dataset not in DATASETS:
        raise UserError(f"--dataset: found {dataset}; expected one of {join(DATASETS)}")
    classes: Classes = getattr(data, DATASETS[dataset]).classes
    if len(classes) != count:
        raise UserError(f"--dataset: {dataset} has {len(classes)} classes, but the network has {count}")
    return classes


def write_converted(
    folder: str | Path, published: PublishedWeights, file: str | Path, classes: Classes, classes_source: str
) -> None:
    """Write published weights as a weights folder.

    Args:
        folder: The folder to write. It must be empty or not exist.
        published: The weights.
        file: The published file, whose name the model card gives.
        classes: Names and colors of the classes.
        classes_source: Where they come from, for people to read.

    Raises:
        UserError: The folder is not empty.
    """
    card = converted_card(published, Path(file).name, classes_source)
    write_weights_folder(folder, published.network, published_preprocessing(classes), card)


def write_exported(checkpoint: str | Path, folder: str | Path | None = None, trust: bool = False) -> tuple[Path, str]:
    """Write a checkpoint of this package as a weights folder.

    The model card gives the terms of the data, from the data module that the configuration names.

    Args:
        checkpoint: A checkpoint that `refinenet fit` wrote.
        folder: The folder to write. It must be empty or not exist. None gives the name of the experiment.
        trust: Whether to import a data module that is not of this package. Otherwise its terms are unknown.

    Returns:
        The folder, and which weights it holds, for people to read.

    Raises:
        UserError: The checkpoint cannot be read, a weights folder cannot hold its network, or the folder is not empty.
    """
    path = Path(checkpoint)
    content = read_checkpoint(path)
    config = run_config(content, path)
    segmenter = segmenter_from_checkpoint(content, path)
    kind = "averaged over the training" if "averaging_state" in content else "of the last step"
    try:
        weights = f"`{path.name}`, epoch {int(content['epoch'])}, step {int(content['global_step'])}, {kind}"
        card = trained_card(config, data_terms(config["data"]["class_path"], trust), run_results(path), weights)
        experiment = config["experiment"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # a key is missing, or of another type
        raise UserError(
            f"{path}: its configuration or the results of its run are incomplete ({error!r}); `refinenet fit` saves all"
        ) from error
    if folder is None:
        check_section("experiment", experiment, path, advice="Give another folder with --output")
    folder = Path(folder or experiment)
    write_weights_folder(folder, segmenter.network, segmenter.preprocessing, card)
    return folder, weights


def data_terms(class_path: str, trust: bool = False) -> str:
    """Return the terms of a data module; "Unknown." if it cannot be imported here or states none.

    Args:
        class_path: The class. The configuration of a stranger may have named it.
        trust: Whether to import it if it is not one of this package.
    """
    if not (trust or DATA.fullmatch(str(class_path))):
        name = markdown_text(str(class_path)[:200])
        return f"Unknown. {name} is not of refinenet-pl, and was not imported; `--trust` imports it."
    try:
        data_module = locate(class_path)
    except ErrorDuringImport:
        data_module = None
    return getattr(data_module, "terms", "Unknown.")


def run_results(checkpoint: str | Path) -> dict[str, Any] | None:
    """Read the metrics of a checkpoint: those of its run, if it is the run's best checkpoint; else None."""
    run = RunFolder.of_checkpoint(checkpoint)
    if run is None or not run.finished or Path(checkpoint).resolve() != run.best_checkpoint:
        return None
    return run.read_results()
