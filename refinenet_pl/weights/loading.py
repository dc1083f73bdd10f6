"""`load`: from a file or folder with trained weights to an object that segments images."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.segmenter import Segmenter
from refinenet_pl.runs import RunFolder
from refinenet_pl.text import join
from refinenet_pl.weights.building import build_inference, build_network, build_preprocessing, load_state
from refinenet_pl.weights.checkpoint import is_checkpoint, network_state, read_checkpoint, run_config
from refinenet_pl.weights.folder import is_weights_folder, load_weights_folder
from refinenet_pl.weights.published import load_published, published_classes, published_preprocessing

EXPECTED = "a run folder, a checkpoint, a weights folder, or a file of published weights"


def load(path: str | Path, network: nn.Module | None = None) -> Segmenter:
    """Load a trained network with everything that it needs to segment images.

    Neither the training data nor Lightning is needed. The file may be untrusted: loading runs no code from it.

        segmenter = load("runs/quickstart/20261124-120242-10a9")
        prediction = segmenter.predict("photo.jpg")
        own = load("runs/mine/20261124-120242-10a9", network=MyNetwork(classes=11))

    Args:
        path: One of

            - a run folder: its best checkpoint is loaded, or its last one if there is no best one;
            - a checkpoint that `refinenet fit` wrote: the averaged weights are loaded if the run averaged them;
            - a weights folder that `refinenet weights` wrote;
            - a torch or safetensors file of published weights: 21 classes get PASCAL VOC's names and colors, other
              numbers of classes are numbered.
        network: A network of your own class, for a run folder or checkpoint that names this class. It gets the
            weights. Networks of this package and of segmentation_models_pytorch are built from the configuration.

    Returns:
        The network on the CPU, in evaluation mode, with its preprocessing. A checkpoint is used with the inference of
        its run's configuration. Weights folders and published weights predict the whole image at once.

    Raises:
        UserError: Nothing exists at the path, or it cannot be read safely, is of another kind, or is inconsistent.
    """
    path = Path(path)
    if path.is_dir():
        return _load_folder(path, network)
    if not path.exists():
        raise UserError(f"no file or folder {path}; expected {EXPECTED}")
    if is_checkpoint(path):
        return segmenter_from_checkpoint(read_checkpoint(path), path, network)
    _expect_no_network(network, path)
    published = load_published(path)
    classes, _ = published_classes(published.classes)
    return Segmenter(published.network, published_preprocessing(classes))


def _expect_no_network(network: nn.Module | None, path: Path) -> None:
    if network is not None:
        raise UserError(f"{path}: found no checkpoint; expected one, or a run folder, since a network is given with it")


def _load_folder(path: Path, network: nn.Module | None) -> Segmenter:
    run = RunFolder(path)
    for checkpoint in (run.best_checkpoint, run.last_checkpoint):
        if checkpoint.is_file():
            return segmenter_from_checkpoint(read_checkpoint(checkpoint), checkpoint, network)
    if run.config.is_file() or run.checkpoints.is_dir():
        raise UserError(
            f"{path}: found a run folder without a checkpoint; expected {run.best_checkpoint} or {run.last_checkpoint}"
        )
    if is_weights_folder(path):
        _expect_no_network(network, path)
        return Segmenter(*load_weights_folder(path))
    names = sorted(file.name for file in path.iterdir())
    raise UserError(f"{path}: found a folder that holds {join(names, 8) or 'nothing'}; expected {EXPECTED}")


def segmenter_from_checkpoint(
    checkpoint: dict[str, Any], path: str | Path, network: nn.Module | None = None
) -> Segmenter:
    """Build the network, preprocessing and inference of a checkpoint.

    Args:
        checkpoint: As `read_checkpoint` returns it.
        path: The checkpoint's file, for error messages.
        network: As for `load`.

    Raises:
        UserError: The configuration is incomplete, names an unknown network, or does not fit the weights.
    """
    model: Any = run_config(checkpoint, path).get("model")
    try:
        name, arguments = model["network"]["class_path"], model["network"].get("init_args") or {}
        preprocessing = build_preprocessing(model["preprocessing"], path)
        inference = build_inference(model.get("inference"), path)
    except (AttributeError, KeyError, TypeError) as error:  # a key is missing, or its value is not a mapping
        raise UserError(
            f"{path}: its configuration is incomplete ({error!r}); expected model.network and model.preprocessing, as "
            "`refinenet fit` saves them"
        ) from error
    if network is None:
        network = build_network(str(name), arguments, path)
    load_state(network, network_state(checkpoint), path)
    # The layout in which the run evaluated, because another one can change the last bits of the logits.
    memory_format = torch.channels_last if model.get("channels_last", True) else torch.contiguous_format
    return Segmenter(network.eval(), preprocessing, inference, memory_format)
