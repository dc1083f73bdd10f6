"""Fully convolutional networks, plain and dilated: the paper's figure 2 compares RefineNet with them."""

from pathlib import Path
from typing import Any, Literal

from segmentation_models_pytorch.base.hub_mixin import supports_config_loading
from torch import Tensor, nn

from refinenet_pl.networks.base import RefinementNetwork
from refinenet_pl.networks.encoders import make_encoder


class FullyConvNet(RefinementNetwork):
    """A classifier on the encoder's last feature map, and bilinear upsampling: RefineNet without its decoder.

    `output_stride` 32 gives the plain network of figure 2a. 8 gives the dilated network of figure 2b, as in DeepLab:
    the last stages keep the resolution, and dilated convolutions keep the receptive field. The number and shapes of the
    weights do not depend on the stride.

    With timm's dilated ResNets ("tu-resnet101"), every fourth (stride 8) or second (stride 16) row and column of the
    last feature map equals the plain network's. With smp's ("resnet101") they differ, because smp also dilates the
    first convolution of a stage.

    Args:
        encoder_name: Any smp encoder, or `tu-` and a timm name, with feature maps at strides 4 to 32. Output strides
            16 and 8 need an encoder that can be dilated.
        encoder_depth: How many times the encoder halves the size before dilation, 3..5.
        encoder_weights: None, smp's name of weights ("imagenet"), True for timm's, or the path of a state-dict file.
        in_channels: Channels of the image.
        classes: Channels of the output.
        activation: Activation of the output. None gives logits.
        aux_params: smp's arguments of a classification head on the last feature map, or None.
        output_stride: Stride of the last feature map and of the logits; 2**encoder_depth if that is smaller.
        dropout: Dropout probability before the classifier.

    Raises:
        UserError: The arguments do not fit each other or the encoder.
    """

    @supports_config_loading
    def __init__(
        self,
        encoder_name: str = "resnet101",
        encoder_depth: int = 5,
        encoder_weights: str | Path | bool | None = "imagenet",
        in_channels: int = 3,
        classes: int = 1,
        activation: str | None = None,
        aux_params: dict[str, Any] | None = None,
        output_stride: Literal[32, 16, 8] = 32,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.encoder = make_encoder(encoder_name, in_channels, encoder_depth, encoder_weights, output_stride)
        self.decoder = LastFeatureMap(self.encoder.out_channels[-1], dropout)
        self.add_heads(classes, activation, aux_params)


class LastFeatureMap(nn.Module):
    """Replaces a decoder: returns the encoder's last feature map, with dropout.

    Args:
        channels: Channels of this feature map.
        dropout: Dropout probability.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.out_channels = channels
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the last feature map, [N, channels, h, w]."""
        return self.dropout(features[-1])
