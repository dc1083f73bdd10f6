"""Encoders of segmentation_models_pytorch and timm, with weights from the hub or from a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torchvision.ops import Conv2dNormActivation

from refinenet_pl.errors import UserError
from refinenet_pl.networks.hub import check_hub
from refinenet_pl.networks.state_dict import describe_mismatch, read_state_dict

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".tar", ".safetensors", ".ckpt")
CLASSIFIER_PREFIXES = (
    *("fc.", "classifier.", "head.", "last_linear.", "norm.", "norm_head.", "conv_head.", "bn2."),
    "features.18.",  # MobileNet-v2's last convolution: smp's encoder has it, MobileNetV2Taps does not
)
"""Prefixes of the layers after the last feature map in classification networks of torchvision and timm."""


def make_encoder(
    name: str, in_channels: int, depth: int, weights: str | Path | bool | None, output_stride: int = 32
) -> Any:
    """Make an encoder with feature maps at strides 4 to 2**depth.

    Args:
        name: smp's name, or `tu-` and timm's name.
        in_channels: Channels of the image.
        depth: How many times the size is halved, 3..5.
        weights: None for random weights, a name that smp knows ("imagenet"), True for a timm encoder, or the path of a
            state-dict file.
        output_stride: 32, or 16 or 8 for a dilated encoder, whose feature maps are no coarser than that.

    Returns:
        A module that maps images to a list: the images and their feature maps, fine to coarse. `out_channels` holds
        their channels.

    Raises:
        UserError: The encoder or its weights are unknown or cannot be downloaded, or the depth, the stride or the file
            does not fit.
    """
    if not 3 <= depth <= 5:
        raise UserError(f"encoder_depth is {depth}; expected 3 (strides 4 and 8), 4 or 5 (strides 4 to 32)")
    from_file = is_weight_file(weights)
    if weights and not from_file:
        check_hub(name, weights)
    try:
        encoder = smp.encoders.get_encoder(
            name,
            # Files hold weights for RGB. They are adapted to other channels after loading.
            in_channels=3 if from_file else in_channels,
            depth=depth,
            weights=None if from_file or weights is False else weights,
            output_stride=output_stride,
        )
    # Raised for unknown names, unsuitable strides or channels, and failed downloads.
    except (KeyError, RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"encoder_name={name!r}, in_channels={in_channels}, encoder_weights={weights!r}: {error}"
        ) from error
    except (TypeError, AssertionError) as error:  # timm's encoders refuse dilation this way
        raise UserError(
            f"encoder_name={name!r}, output_stride={output_stride}: timm refuses ({error!r}). Not every encoder can be "
            "dilated; all support output_stride=32"
        ) from error
    if len(encoder.out_channels) != depth + 1:
        raise UserError(f"{name} has {len(encoder.out_channels) - 1} feature maps; encoder_depth={depth} needs {depth}")
    freeze_unused(encoder, 3 if from_file else in_channels)
    if from_file:
        load_encoder_weights(encoder, str(weights))
        if in_channels != 3:
            try:
                encoder.set_in_channels(in_channels, pretrained=True)
            except (AttributeError, ValueError) as error:  # timm's encoders lack it; some of smp's refuse
                raise UserError(
                    f"{name} with weights from a file takes 3 channels, not in_channels={in_channels}"
                ) from error
    return encoder


def freeze_unused(encoder: nn.Module, in_channels: int) -> None:
    """Freeze the parameters that no feature map depends on. They get no gradient anyway.

    smp's encoders keep layers of the classification network, such as EfficientNet's last convolution, and the stages
    beyond `encoder_depth`. Training on several devices waits for the gradient of each parameter that is not frozen.
    An encoder that needs images of another size than 64 x 64 stays as it is.
    """
    parameters = {
        name: torch.empty_like(p, device="meta", requires_grad=True) for name, p in encoder.named_parameters()
    }
    buffers = {name: torch.empty_like(b, device="meta") for name, b in encoder.named_buffers()}
    training = encoder.training
    encoder.eval()
    try:
        # Tensors without data: this takes some milliseconds, and changes neither weights nor random state.
        features = functional_call(encoder, (parameters, buffers), torch.empty(1, in_channels, 64, 64, device="meta"))
    except (AssertionError, RuntimeError, ValueError):
        return
    finally:
        encoder.train(training)
    sums = [feature.sum() for feature in features if feature.requires_grad]
    gradients = torch.autograd.grad(sums, list(parameters.values()), allow_unused=True)
    for parameter, gradient in zip(encoder.parameters(), gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def is_weight_file(weights: str | Path | bool | None) -> bool:
    """Return whether `encoder_weights` is a file instead of a name from the hub."""
    if isinstance(weights, Path):
        return True
    return isinstance(weights, str) and (os.sep in weights or weights.endswith(WEIGHT_SUFFIXES))


def load_encoder_weights(encoder: nn.Module, path: str | Path) -> None:
    """Load a classification network's state dict into an encoder. Only the classifier's keys may be left over.

    A segmentation network's state dict, such as a checkpoint of this package, gives the weights of its encoder.

    Raises:
        UserError: The file is missing or unsafe, or keys are missing, left over or of another shape.
    """
    expected = encoder.state_dict()
    expected_keys = {_comparable(key): key for key in expected}
    state, _ = read_state_dict(path)
    state = encoder_part(state)
    found = {expected_keys.get(_comparable(key), _without_wrapper(key)): value for key, value in state.items()}
    found = {key: value for key, value in found.items() if key in expected or not key.startswith(CLASSIFIER_PREFIXES)}
    if mismatch := describe_mismatch(expected, found):
        raise UserError(
            f"{path} does not fit this encoder ({len(expected)} keys expected, {len(found)} found):{mismatch}\n"
            "Give the weight file of the encoder that encoder_name selects."
        )
    encoder.load_state_dict({key: found.get(key, value) for key, value in expected.items()})


def encoder_part(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's tensors of a segmentation network's state dict; other state dicts are returned unchanged."""
    for prefix in ("network.encoder.", "encoder."):  # in a checkpoint, and in a weights folder
        if part := {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}:
            return part
    return state


def _without_wrapper(key: str) -> str:
    """Remove the prefix of smp's wrapper around timm's networks."""
    return key.removeprefix("model.")


def _comparable(key: str) -> str:
    """Make keys of a timm network and of its encoder equal: timm's `stem.0` is `stem_0` in the encoder."""
    return _without_wrapper(key).replace(".", "_")


def pixel_statistics(encoder_name: str, weights: str | Path | bool | None) -> tuple[list[float], list[float]]:
    """Look up the mean and standard deviation that an encoder's weights were trained with, for pixels in 0..1.

    timm describes its networks, and smp describes the weights of its hub. Random weights and other files get ImageNet's
    statistics.

    Raises:
        UserError: smp does not know the encoder or its weights, or cannot download their description.
    """
    settings: Mapping[str, Any] = {}
    if encoder_name.startswith("tu-"):
        config = timm.get_pretrained_cfg(encoder_name.removeprefix("tu-"))
        settings = config.to_dict() if config else {}
    elif isinstance(weights, str) and not is_weight_file(weights):
        check_hub(encoder_name, weights)
        try:
            settings = smp.encoders.get_preprocessing_params(encoder_name, weights)
        except (KeyError, ValueError, OSError) as error:  # unknown encoder or weights, failed download
            raise UserError(f"encoder_name={encoder_name!r}, encoder_weights={weights!r}: {error}") from error
    return list(settings.get("mean", IMAGENET_MEAN)), list(settings.get("std", IMAGENET_STD))


class MobileNetV2Taps(nn.Module):
    """MobileNet-v2 with one feature map per stage, as its light-weight RefineNet uses them.

    Two feature maps have stride 16 (64 and 96 channels), and two have stride 32 (160 and 320 channels).
    `features_per_stride` counts them per stride, from 4 on. The last convolution, to 1280 channels, only serves
    classification and is left out.

    Args:
        encoder: smp's `mobilenet_v2`.
        depth: How many times the size is halved, 3..5.
        expand_first: Also give the first block the expansion convolution that all other blocks start with. The
            published light-weight RefineNet has it; torchvision's network and weights do not.
    """

    def __init__(self, encoder: Any, depth: int = 5, expand_first: bool = False) -> None:
        super().__init__()
        self.features_per_stride = [1, 1, 2, 2][: depth - 1]
        stages = 1 + sum(self.features_per_stride)
        # Last layer and width of each stage, at strides 2, 4, 8, 16, 16, 32, 32.
        self.last_layers = [1, 3, 6, 10, 13, 16, 17][:stages]
        self.out_channels = [encoder.out_channels[0], *[16, 24, 32, 64, 96, 160, 320][:stages]]
        self.output_stride = 2**depth
        self.features = encoder.features[: self.last_layers[-1] + 1]
        if expand_first:
            expansion = Conv2dNormActivation(32, 32, kernel_size=1, activation_layer=nn.ReLU6)
            self.features[1] = nn.Sequential(expansion, self.features[1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the feature maps of images [N, C, H, W], fine to coarse; the images are the first."""
        features = [x]
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.last_layers:
                features.append(x)
        return features
