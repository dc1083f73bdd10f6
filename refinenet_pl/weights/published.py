"""Published weights: files that the public PyTorch ports of RefineNet and Light-Weight RefineNet were released with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from refinenet_pl.data.classes import VOC, Classes, voc_colors
from refinenet_pl.errors import UserError
from refinenet_pl.networks import LightWeightRefineNet, RefineNet
from refinenet_pl.networks.base import RefinementNetwork
from refinenet_pl.networks.encoders import IMAGENET_MEAN, IMAGENET_STD
from refinenet_pl.networks.state_dict import describe_mismatch, read_state_dict
from refinenet_pl.preprocessing import Preprocessing
from refinenet_pl.text import join
from refinenet_pl.weights import layouts

RESNETS = {6: "resnet50", 23: "resnet101", 36: "resnet152"}
"""ResNet encoders by the number of blocks in their third stage."""


@dataclass(frozen=True)
class PublishedWeights:
    """A network that holds published weights, and how the file was read.

    Attributes:
        network: The network, in evaluation mode.
        architecture: Its name, for people to read.
        classes: The number of classes.
        wrapping: The dictionaries and prefixes around the weights in the file, for people to read.
        mapping: Our key for each key that was loaded from the file.
        ignored: Keys that were ignored on request. Where our network has them, they keep their random values.
    """

    network: RefinementNetwork
    architecture: str
    classes: int
    wrapping: str
    mapping: dict[str, str]
    ignored: tuple[str, ...]


def load_published(path: str | Path, ignore: Sequence[str] = ()) -> PublishedWeights:
    """Load a file of published weights; its keys and shapes choose the network.

    Args:
        path: A torch or safetensors file.
        ignore: Published keys that may be missing, be left over, or have another shape.

    Raises:
        UserError: The file cannot be read safely, has an unknown layout, or has a key or shape that does not fit.
    """
    path = Path(path)
    state, wrapping = read_state_dict(path)
    network, pairs, architecture = recognize(path, state)
    network_state = network.state_dict()
    mapping = published_keys(pairs, network_state)
    if unknown := sorted(set(ignore) - mapping.keys() - state.keys()):
        raise UserError(f"--ignore: {join(unknown)}: neither {path} nor {architecture} has such a key")
    loaded = {key: value for key, value in state.items() if key not in ignore}
    expected = {key: network_state[ours] for key, ours in mapping.items() if key not in ignore}
    if mismatch := describe_mismatch(expected, loaded):
        raise UserError(
            f"{path} looks like {architecture}, but does not fit it ({len(expected)} keys expected, {len(loaded)} "
            f"found):{mismatch}\nIf you know why a key does not fit, list it in --ignore."
        )
    network.load_state_dict(network_state | {mapping[key]: value for key, value in loaded.items()})
    return PublishedWeights(
        network=network.eval(),
        architecture=architecture,
        classes=network.config["classes"],
        wrapping=wrapping,
        mapping={key: mapping[key] for key in loaded},
        ignored=tuple(ignore),
    )


def recognize(path: str | Path, state: Mapping[str, Tensor]) -> tuple[RefinementNetwork, layouts.Pairs, str]:
    """Recognize the network that a state dict belongs to.

    Args:
        path: The file, for the error message.
        state: The state dict.

    Returns:
        The network with random weights, the table of its layout, and its name.

    Raises:
        UserError: The layout is unknown.
    """
    if "segm.weight" in state:
        classes = len(state["segm.weight"])
        network = LightWeightRefineNet("mobilenet_v2", encoder_weights=None, classes=classes, expand_first=True)
        return network, layouts.lightweight_mobilenet(), "Light-Weight RefineNet with MobileNet-v2"
    encoder = RESNETS.get(len({key.split(".")[1] for key in state if key.startswith("layer3.")}))
    if "clf_conv.weight" not in state or encoder is None:
        raise UserError(
            f"{path} has no known layout of published weights; found {len(state)} keys: {join(state, 4)}. Expected "
            "RefineNet or Light-Weight RefineNet with ResNet-50, 101 or 152 (keys such as clf_conv.weight and "
            "layer3.5.conv1.weight) or with MobileNet-v2 (segm.weight). For a checkpoint of this package, use "
            "`refinenet weights export`"
        )
    classes, name = len(state["clf_conv.weight"]), encoder.replace("resnet", "ResNet-")
    if any(key.startswith("adapt_stage1_b.") for key in state):
        return RefineNet(encoder, encoder_weights=None, classes=classes), layouts.refinenet(), f"RefineNet with {name}"
    light = LightWeightRefineNet(encoder, encoder_weights=None, classes=classes)
    return light, layouts.lightweight_resnet(), f"Light-Weight RefineNet with {name}"


def published_keys(pairs: layouts.Pairs, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return our key for each published key.

    Args:
        pairs: The table of a layout.
        state: The state dict of our network, whose keys add the names of the weights in each module.
    """
    return {
        published + key.removeprefix(ours): key
        for published, ours in pairs
        for key in state
        if key.startswith(f"{ours}.")
    }


def published_classes(count: int) -> tuple[Classes, str]:
    """Choose names and colors for the classes of a published file, which has neither.

    Args:
        count: The number of classes. 21 gives PASCAL VOC's classes; with other numbers the classes are numbered.

    Returns:
        The classes, and where they come from, for people to read.
    """
    if count == len(VOC):
        return VOC, "PASCAL VOC's, assumed because there are 21 classes"
    names = tuple(f"class {index}" for index in range(count))
    return Classes(names, voc_colors(count)), "unknown; classes are numbered"


def published_preprocessing(classes: Classes) -> Preprocessing:
    """Return the preprocessing of published weights: ImageNet's pixel statistics, and the given classes."""
    return Preprocessing(
        mean=list(IMAGENET_MEAN),
        std=list(IMAGENET_STD),
        class_names=list(classes.names),
        class_colors=[list(color) for color in classes.colors],
    )
