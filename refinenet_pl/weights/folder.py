"""A weights folder: a network as it is handed out.

It holds what segmentation_models_pytorch's `save_pretrained` writes (`config.json`, `model.safetensors`), so that
`RefineNet.from_pretrained(folder)` reads it; beside it `preprocessing.json`, what images and labels are to the weights;
and the model card, `README.md`.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.base import SegmentationModel
from torch import nn

from refinenet_pl import networks
from refinenet_pl.errors import UserError
from refinenet_pl.files import read_json
from refinenet_pl.networks.state_dict import describe_mismatch, read_state_dict
from refinenet_pl.preprocessing import Preprocessing

CONFIG = "config.json"
PREPROCESSING = "preprocessing.json"
INCOMPLETE = "a weights folder needs it, as `refinenet weights` writes it"
WEIGHTS = "model.safetensors"


def write_weights_folder(folder: Path, network: SegmentationModel, preprocessing: Preprocessing, card: str) -> None:
    """Write a weights folder whole: under another name first, then renamed.

    Args:
        folder: Where; it must be empty or not there.
        network: Written in float32; it is changed to that.
        preprocessing: What belongs to its weights.
        card: The model card, in Markdown.

    Raises:
        UserError: There is something in the folder.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--output: {folder} is there already, and not empty; nothing is overwritten: name another")
    unfinished = folder.with_name(f".{folder.name}-{uuid4().hex}")
    unfinished.mkdir(parents=True)
    try:
        (unfinished / "README.md").write_text(card)  # first: smp would write one of its own
        (unfinished / PREPROCESSING).write_text(json.dumps(asdict(preprocessing), indent=2) + "\n")
        network.float().save_pretrained(unfinished)
        # safetensors makes files that only their owner can read.
        shutil.copymode(unfinished / CONFIG, unfinished / WEIGHTS)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def load_weights_folder(folder: Path) -> tuple[SegmentationModel, Preprocessing]:
    """The network, in evaluation mode, and what belongs to its weights.

    Raises:
        UserError: Something is missing, unknown, or does not fit.
    """
    network, arguments = network_config(folder)
    loaded = network(**arguments)
    load_weights(loaded, folder)
    return loaded.eval(), read_preprocessing(folder)


def network_config(folder: Path) -> tuple[type[SegmentationModel], dict[str, Any]]:
    """The class and the arguments of a folder's network; raises UserError where they are missing or unknown."""
    config = read_json(folder / CONFIG, INCOMPLETE)
    return network_class(str(config.pop("_model_class", None))), config


def network_class(name: str) -> type[SegmentationModel]:
    """A network of ours, or smp's, by its name; raises UserError for others."""
    found = getattr(networks, name, None) or getattr(smp, name, None)
    if not (isinstance(found, type) and issubclass(found, SegmentationModel)):
        raise UserError(
            f"a weights folder cannot hold a network {name}: expected one of refinenet_pl.networks or of "
            "segmentation_models_pytorch"
        )
    return found


def load_weights(network: nn.Module, folder: Path) -> None:
    """Load a folder's weights into a network of its kind.

    Raises:
        UserError: The file is missing or damaged, or does not fit the network key by key.
    """
    path = folder / WEIGHTS
    state, _ = read_state_dict(path)
    own = network.state_dict()
    if told := describe_mismatch(own, state):
        raise UserError(f"{path} does not fit this {type(network).__name__}, whose arguments {CONFIG} says:{told}")
    network.load_state_dict(own | state)


def read_preprocessing(folder: Path) -> Preprocessing:
    """What belongs to a folder's weights.

    Raises:
        UserError: The file is missing or incomplete, or asks for what is not done here.
    """
    path = folder / PREPROCESSING
    try:
        preprocessing = Preprocessing(**read_json(path, INCOMPLETE))
    except TypeError as error:  # names what is missing or unknown
        raise UserError(f"{path}: {error}") from error
    found = (list(preprocessing.pixel_range), preprocessing.image_scale)
    if found != ([0, 1], 1):
        raise UserError(
            f"{path}: pixel_range is {found[0]} and image_scale {found[1]}; expected [0, 1] and 1. Give mean and std "
            f"for pixels in 0..1, and the scale as image_scales in {CONFIG}"
        )
    return preprocessing
