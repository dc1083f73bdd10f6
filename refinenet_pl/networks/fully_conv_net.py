"""Fully convolutional ResNets, plain and dilated: what the paper's figure 2 sets RefineNet against."""

from typing import Any, Literal

from segmentation_models_pytorch.base.hub_mixin import supports_config_loading
from torch import Tensor, nn

from refinenet_pl.networks.base import RefinementNetwork
from refinenet_pl.networks.encoders import make_encoder


class FullyConvNet(RefinementNetwork):
    """A classifier right on the encoder's last map, and bilinear upsampling: RefineNet without its decoder.

    With `output_stride` 32 it is the plain network of figure 2a, with 8 the dilated one of figure 2b, as in DeepLab:
    the last stages keep the resolution, and their dilated convolutions see as much of the image as before. The weights
    are of the same number and shapes with any stride. timm's dilated ResNets ("tu-resnet101") compute the plain ones'
    last map and what lies between its places; smp's ("resnet101") dilate the first convolution of a stage as well.

    Args:
        encoder_name: Any smp encoder, or `tu-` and a timm name, with maps at strides 4 to 32; one that can be dilated
            for an output stride of 16 or 8.
        encoder_depth: 3..5, number of times the encoder halves the size, before dilation.
        encoder_weights: None, smp's name of weights ("imagenet"), True for timm's, or the path of a state-dict file.
        in_channels: Channels of the image.
        classes: Channels of the output.
        activation: Applied to the output; None gives logits.
        aux_params: smp's arguments of a classification head on the last map, or None.
        output_stride: Of the last map, and so of the logits; 2**encoder_depth if that is less.
        dropout: Probability before the classifier.

    Raises:
        UserError: Arguments that do not fit each other or the encoder.
    """

    @supports_config_loading
    def __init__(
        self,
        encoder_name: str = "resnet101",
        encoder_depth: int = 5,
        encoder_weights: str | bool | None = "imagenet",
        in_channels: int = 3,
        classes: int = 1,
        activation: str | None = None,
        aux_params: dict[str, Any] | None = None,
        output_stride: Literal[32, 16, 8] = 32,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.encoder = make_encoder(encoder_name, in_channels, encoder_depth, encoder_weights, output_stride)
        self.decoder = LastMap(self.encoder.out_channels[-1], dropout)
        self.add_heads(classes, activation, aux_params)


class LastMap(nn.Module):
    """Stands in for a decoder: passes on the encoder's last map.

    Args:
        channels: Of that map.
        dropout: Probability on it.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.out_channels = channels
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: list[Tensor]) -> Tensor:
        """The last of the maps, [N, channels, h, w]."""
        return self.dropout(features[-1])
