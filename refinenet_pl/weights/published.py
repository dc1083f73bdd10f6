"""Reads the weights that the public PyTorch ports of RefineNet and Light-Weight RefineNet were published with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from refinenet_pl.errors import UserError
from refinenet_pl.networks import LightWeightRefineNet, RefineNet
from refinenet_pl.networks.base import RefinementNetwork
from refinenet_pl.networks.state_dict import describe_mismatch, read_state_dict
from refinenet_pl.weights import layouts

RESNETS = {6: "resnet50", 23: "resnet101", 36: "resnet152"}
"""ResNets by the number of blocks in their third stage."""


@dataclass(frozen=True)
class PublishedWeights:
    """A network with published weights in it, and how they were found.

    Attributes:
        network: In evaluation mode.
        architecture: In words.
        classes: How many the network tells apart.
        wrapping: What the weights were wrapped in, in words.
        mapping: For each key taken from the file, ours.
        ignored: Keys told to be ignored; where our network has such a one, it keeps its random first value.
    """

    network: RefinementNetwork
    architecture: str
    classes: int
    wrapping: str
    mapping: dict[str, str]
    ignored: tuple[str, ...]


def load_published(path: Path, ignore: Sequence[str] = ()) -> PublishedWeights:
    """Load a published file into the network that its keys and shapes are of.

    Args:
        path: A torch or safetensors file.
        ignore: Keys, by their published names, that may be missing, left over or of another shape.

    Raises:
        UserError: The file cannot be read safely, is of no known layout, or does not fit it key by key.
    """
    state, wrapping = read_state_dict(path)
    network, pairs, architecture = recognize(path, state)
    own = network.state_dict()
    mapping = published_keys(pairs, own)
    if unknown := sorted(set(ignore) - mapping.keys() - state.keys()):
        raise UserError(f"--ignore: {', '.join(unknown)}: neither {path} nor {architecture} has such a key")
    taken = {key: value for key, value in state.items() if key not in ignore}
    expected = {key: own[ours] for key, ours in mapping.items() if key not in ignore}
    if told := describe_mismatch(expected, taken):
        raise UserError(
            f"{path} looks like {architecture}, but does not fit it ({len(expected)} keys expected, {len(taken)} "
            f"found):{told}\nIf you know why, name keys with --ignore."
        )
    network.load_state_dict(own | {mapping[key]: value for key, value in taken.items()})
    return PublishedWeights(
        network=network.eval(),
        architecture=architecture,
        classes=network.config["classes"],
        wrapping=wrapping,
        mapping={key: mapping[key] for key in taken},
        ignored=tuple(ignore),
    )


def recognize(path: Path, state: Mapping[str, Tensor]) -> tuple[RefinementNetwork, layouts.Pairs, str]:
    """The network that a state dict is of, with random weights; the table of its layout; its name.

    Raises:
        UserError: It is of none.
    """
    if "segm.weight" in state:
        classes = len(state["segm.weight"])
        network = LightWeightRefineNet("mobilenet_v2", encoder_weights=None, classes=classes, expand_first=True)
        return network, layouts.lightweight_mobilenet(), "Light-Weight RefineNet with MobileNet-v2"
    encoder = RESNETS.get(len({key.split(".")[1] for key in state if key.startswith("layer3.")}))
    if "clf_conv.weight" not in state or encoder is None:
        raise UserError(
            f"{path} is of no layout known here; expected RefineNet or Light-Weight RefineNet with ResNet-50, 101 or "
            f"152 (keys such as clf_conv.weight and layer3.5.conv1.weight) or with MobileNet-v2 (segm.weight); found "
            f"{len(state)} keys: {', '.join(list(state)[:4])} ... A checkpoint of this package goes to "
            "`refinenet weights export`."
        )
    classes, name = len(state["clf_conv.weight"]), encoder.replace("resnet", "ResNet-")
    if any(key.startswith("adapt_stage1_b.") for key in state):
        return RefineNet(encoder, encoder_weights=None, classes=classes), layouts.refinenet(), f"RefineNet with {name}"
    light = LightWeightRefineNet(encoder, encoder_weights=None, classes=classes)
    return light, layouts.lightweight_resnet(), f"Light-Weight RefineNet with {name}"


def published_keys(pairs: layouts.Pairs, own: Mapping[str, Tensor]) -> dict[str, str]:
    """Our key for each published one: a layout's table with the names of the weights in each module."""
    return {
        published + key.removeprefix(ours): key
        for published, ours in pairs
        for key in own
        if key.startswith(f"{ours}.")
    }
