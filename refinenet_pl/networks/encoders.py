"""Encoders from segmentation_models_pytorch and timm, with weights from the hub or from a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from refinenet_pl.errors import UserError
from refinenet_pl.networks.state_dict import describe_mismatch, read_state_dict

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".tar", ".safetensors")
CLASSIFIER_PREFIXES = (
    *("fc.", "classifier.", "head.", "last_linear.", "norm.", "norm_head.", "conv_head.", "bn2."),
    "features.18.",  # MobileNet-v2's, which smp's encoder has and our light-weight network's has not
)
"""Names of what follows the last feature map in torchvision's and timm's classification networks."""


def make_encoder(name: str, in_channels: int, depth: int, weights: str | bool | None, output_stride: int = 32) -> Any:
    """An encoder by its smp name (or `tu-` and its timm name), with feature maps at strides 4 to 2**depth.

    It is a module that maps an image to a list of the image and its maps, fine to coarse; `out_channels` counts theirs.

    Args:
        name: smp's or timm's name.
        in_channels: Channels of the image.
        depth: 3..5, number of times the size is halved.
        weights: None for random ones, a name that smp knows ("imagenet"), True for a timm encoder, or the path of a
            file that holds a state dict.
        output_stride: 32, or 16 or 8 for a dilated encoder, none of whose maps is coarser than that.

    Raises:
        UserError: Unknown encoder or weights, a depth or strides that do not fit, or a file that does not fit.
    """
    if not 3 <= depth <= 5:
        raise UserError(f"encoder_depth is {depth}; expected 3 (strides 4 and 8), 4 or 5 (strides 4 to 32)")
    from_file = is_weight_file(weights)
    try:
        encoder = smp.encoders.get_encoder(
            name,
            # A file holds weights for RGB: they are adapted to other images after they are loaded.
            in_channels=3 if from_file else in_channels,
            depth=depth,
            weights=None if from_file or weights is False else weights,
            output_stride=output_stride,
        )
    # A name that smp or timm lacks, strides or channels that do not fit, a download that fails.
    except (KeyError, RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"encoder_name={name!r}, in_channels={in_channels}, encoder_weights={weights!r}: {error}"
        ) from error
    except (TypeError, AssertionError) as error:  # how timm's encoders refuse dilation
        raise UserError(
            f"encoder_name={name!r}, output_stride={output_stride}: timm refuses ({error!r}). Not every encoder can be "
            "dilated; all take output_stride=32"
        ) from error
    if len(encoder.out_channels) != depth + 1:
        raise UserError(f"{name} has {len(encoder.out_channels) - 1} feature maps; encoder_depth={depth} needs {depth}")
    if from_file:
        load_encoder_weights(encoder, Path(str(weights)))
        if in_channels != 3:
            try:
                encoder.set_in_channels(in_channels, pretrained=True)
            except (AttributeError, ValueError) as error:  # timm's encoders lack it, some of smp's refuse
                raise UserError(
                    f"{name} with weights from a file takes 3 channels, not in_channels={in_channels}"
                ) from error
    return encoder


def is_weight_file(weights: str | bool | None) -> bool:
    """Whether `encoder_weights` means a file rather than a name from the hub."""
    return isinstance(weights, str) and (os.sep in weights or weights.endswith(WEIGHT_SUFFIXES))


def load_encoder_weights(encoder: nn.Module, path: Path) -> None:
    """Load a state dict of a classification network into an encoder; its classifier is left out, nothing else is.

    Raises:
        UserError: The file is missing or unsafe, or keys are missing, left over or of another shape.
    """
    expected = encoder.state_dict()
    names = {_flat(key): key for key in expected}
    state, _ = read_state_dict(path)
    found = {names.get(_flat(key), _bare(key)): value for key, value in state.items()}
    found = {key: value for key, value in found.items() if key in expected or not key.startswith(CLASSIFIER_PREFIXES)}
    if told := describe_mismatch(expected, found):
        raise UserError(
            f"{path} does not fit this encoder ({len(expected)} keys expected, {len(found)} found):{told}\n"
            "Give the file of the encoder that encoder_name names."
        )
    encoder.load_state_dict({key: found.get(key, value) for key, value in expected.items()})


def _bare(key: str) -> str:
    """A key without the name of a wrapper; timm's networks sit in `model` of smp's encoders."""
    return key.removeprefix("model.")


def _flat(key: str) -> str:
    """What a key of a timm network has in common with the same one in an encoder: there `stem.0` is `stem_0`."""
    return _bare(key).replace(".", "_")


def pixel_statistics(encoder_name: str, weights: str | bool | None) -> tuple[list[float], list[float]]:
    """Mean and standard deviation, for pixels in 0..1, with which an encoder's weights were trained.

    timm says it for its networks and smp for weights from its hub. For random weights and for files of torchvision's
    it is ImageNet's.

    Raises:
        UserError: smp does not know the encoder or its weights, or cannot download their description.
    """
    settings: Mapping = {}
    if encoder_name.startswith("tu-"):
        config = timm.get_pretrained_cfg(encoder_name.removeprefix("tu-"))
        settings = config.to_dict() if config else {}
    elif isinstance(weights, str) and not is_weight_file(weights):
        try:
            settings = smp.encoders.get_preprocessing_params(encoder_name, weights)
        except (KeyError, ValueError, OSError) as error:  # unknown encoder, unknown weights, a download that fails
            raise UserError(f"encoder_name={encoder_name!r}, encoder_weights={weights!r}: {error}") from error
    return list(settings.get("mean", IMAGENET_MEAN)), list(settings.get("std", IMAGENET_STD))


class MobileNetV2Taps(nn.Module):
    """MobileNet-v2 with a feature map from each of its last six stages, as its light-weight RefineNet reads it.

    There are two maps at stride 16 (64 and 96 channels) and two at stride 32 (160 and 320): `maps_per_stride` counts
    them for each stride from 4 on. The last convolution, to 1280 channels, serves classification only and is left out.

    Args:
        encoder: smp's `mobilenet_v2`.
        depth: 3..5, number of times the size is halved.
        expand_first: Give the first block, too, the convolution that comes first in all others. The published
            light-weight RefineNet has it there, torchvision's network and its weights have not.
    """

    def __init__(self, encoder: Any, depth: int = 5, expand_first: bool = False) -> None:
        super().__init__()
        self.maps_per_stride = [1, 1, 2, 2][: depth - 1]
        stages = 1 + sum(self.maps_per_stride)
        # The last layer and the width of each stage, at strides 2, 4, 8, 16, 16, 32, 32.
        self.ends = [1, 3, 6, 10, 13, 16, 17][:stages]
        self.out_channels = [encoder.out_channels[0], *[16, 24, 32, 64, 96, 160, 320][:stages]]
        self.output_stride = 2**depth
        self.features = encoder.features[: self.ends[-1] + 1]
        if expand_first:
            expansion = Conv2dNormActivation(32, 32, kernel_size=1, activation_layer=nn.ReLU6)
            self.features[1] = nn.Sequential(expansion, self.features[1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """The image and the maps, fine to coarse."""
        maps = [x]
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.ends:
                maps.append(x)
        return maps
