"""Networks, preprocessing and inference, built from the plain values that a file holds.

The files may be untrusted: a file cannot name a module to import or code to run.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from segmentation_models_pytorch.base import SegmentationModel
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.networks.state_dict import describe_mismatch
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.text import join
from refinenet_pl.weights.trust import network_class, network_findings


def build_network(name: str, arguments: Mapping[str, Any], source: str | Path) -> SegmentationModel:
    """Build a network with random weights; the encoder's weights are neither downloaded nor read.

    Args:
        name: The class, as for `network_class`.
        arguments: The keyword arguments of the class.
        source: Where name and arguments come from, for error messages.

    Raises:
        UserError: The class is not one of the two packages', or its arguments do not fit or could read other files.
    """
    try:
        network_type = network_class(name)
        if found := network_findings(network_type, arguments):
            raise UserError(f"cannot build {name} from its arguments: {join(map(' is '.join, found.items()), 8)}")
        return network_type(**{**arguments, "encoder_weights": None})
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except Exception as error:  # smp, timm and torch raise many kinds of errors for arguments that do not fit
        raise UserError(f"{source}: cannot build {name} from its arguments: {error}") from error


def load_state(network: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Load a state dict into a network.

    Args:
        network: The network to fill.
        state: Tensors by the network's keys. Only counts of batches may be missing.
        source: Where the tensors come from, for error messages.

    Raises:
        UserError: A key or a shape does not fit.
    """
    expected = network.state_dict()
    if mismatch := describe_mismatch(expected, state):
        raise UserError(f"{source} does not fit {type(network).__name__}:{mismatch}")
    network.load_state_dict({**expected, **state})


def build_preprocessing(values: Mapping[str, Any], source: str | Path) -> Preprocessing:
    """Build a Preprocessing from a mapping of its attributes.

    Args:
        values: The attributes by name.
        source: Where the values come from, for error messages.

    Raises:
        UserError: An attribute is unknown, or has a value that is not supported.
    """
    preprocessing = _build(Preprocessing, values, source, "preprocessing")
    found = (list(preprocessing.pixel_range or ()), preprocessing.image_scale)
    if found != ([0, 1], 1):
        raise UserError(
            f"{source}: found pixel_range {found[0]} and image_scale {found[1]}; expected [0, 1] and 1. Give mean and "
            "std for pixels in 0..1, and the scale as the network's argument image_scales"
        )
    return preprocessing


def build_inference(values: Mapping[str, Any] | None, source: str | Path) -> Inference:
    """Build an Inference from a mapping of its attributes; None gives whole images.

    Args:
        values: The attributes by name. Attributes that are left out have their defaults.
        source: Where the values come from, for error messages.

    Raises:
        UserError: An attribute is unknown, or has a value that is not supported.
    """
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in (values or {}).items()}
    return _build(Inference, plain, source, "inference")


def _build(dataclass: Any, values: Mapping[str, Any], source: str | Path, what: str) -> Any:
    names = [field.name for field in fields(dataclass)]
    if unknown := [name for name in values if name not in names]:
        raise UserError(f"{source}: {what} has unknown keys: {join(unknown, 8)}; expected {join(names)}")
    try:
        return dataclass(**values)
    except (UserError, TypeError, ValueError) as error:
        raise UserError(f"{source}: cannot use its {what}: {error}") from error
