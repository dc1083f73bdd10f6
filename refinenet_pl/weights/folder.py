"""The weights folder: a trained network in the form that is shared with others.

segmentation_models_pytorch's `save_pretrained` writes `config.json` and `model.safetensors`, so that
`RefineNet.from_pretrained(folder)` reads them. The folder also holds `preprocessing.json`, the pixel statistics and
classes, and `README.md`, the model card.
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from segmentation_models_pytorch.base import SegmentationModel
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.files import read_json, write_json
from refinenet_pl.networks.state_dict import read_state_dict
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.weights.building import build_network, build_preprocessing, load_state, network_class

CARD = "README.md"
CONFIG = "config.json"
PREPROCESSING = "preprocessing.json"
WEIGHTS = "model.safetensors"
INCOMPLETE = "expected a weights folder that `refinenet weights` wrote"


def write_weights_folder(
    folder: str | Path, network: SegmentationModel, preprocessing: Preprocessing, card: str
) -> None:
    """Write a weights folder to a temporary folder, and rename it on success.

    Args:
        folder: The folder to write. It must be empty or not exist.
        network: The network. It is converted to float32 in place.
        preprocessing: Pixel statistics and classes of the network.
        card: The model card, in Markdown.

    Raises:
        UserError: The folder is not empty.
    """
    folder = Path(folder).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty; nothing is overwritten. Give another folder (--output)")
    temporary = folder.with_name(f".{folder.name}-{uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        (temporary / CARD).write_text(card, encoding="utf-8")  # first: smp writes a card of its own if there is none
        write_json(temporary / PREPROCESSING, asdict(preprocessing))
        network.float().save_pretrained(temporary)
        # safetensors creates files that only their owner can read.
        shutil.copymode(temporary / CONFIG, temporary / WEIGHTS)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_weights_folder(folder: str | Path) -> bool:
    """Return whether a folder holds any file that only weights folders have."""
    return any((Path(folder) / name).is_file() for name in (CONFIG, PREPROCESSING, WEIGHTS))


def load_weights_folder(folder: str | Path) -> tuple[SegmentationModel, Preprocessing]:
    """Load the network of a weights folder, in evaluation mode, and its preprocessing.

    Raises:
        UserError: A file is missing or damaged, names something unknown, or does not fit the others.
    """
    network_type, arguments = network_config(folder)
    network = build_network(network_type.__name__, arguments, Path(folder) / CONFIG)
    load_weights(network, folder)
    return network.eval(), read_preprocessing(folder)


def network_config(folder: str | Path) -> tuple[type[SegmentationModel], dict[str, Any]]:
    """Return the class and the arguments of a weights folder's network.

    The argument `encoder_weights` is None, because the folder holds the encoder's weights.

    Raises:
        UserError: The file is missing or damaged, or names an unknown class.
    """
    path = Path(folder) / CONFIG
    config = read_json(path, INCOMPLETE)
    try:
        network_type = network_class(str(config.pop("_model_class", None)))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return network_type, config | {"encoder_weights": None}


def load_weights(network: nn.Module, folder: str | Path) -> None:
    """Load the weights of a weights folder into a network of its class.

    Raises:
        UserError: The file is missing or damaged, or a key or a shape does not fit the network.
    """
    load_state(network, read_weights(folder), Path(folder) / WEIGHTS)


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """Read the state dict of a weights folder; raise UserError if the file is missing or damaged."""
    return read_state_dict(Path(folder) / WEIGHTS).tensors


def read_preprocessing(folder: str | Path) -> Preprocessing:
    """Read the preprocessing of a weights folder.

    Raises:
        UserError: The file is missing or damaged, or has unknown keys or unsupported values.
    """
    path = Path(folder) / PREPROCESSING
    return build_preprocessing(read_json(path, INCOMPLETE), path)
