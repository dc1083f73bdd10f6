"""Light-Weight RefineNet for Real-Time Semantic Segmentation (Nekrasov, Shen, Reid; BMVC 2018)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segmentation_models_pytorch.base.hub_mixin import supports_config_loading
from torch import Tensor, nn

from refinenet_pl.networks.base import RefinementNetwork
from refinenet_pl.networks.blocks import (
    FEATURE_GAIN,
    ChainedResidualPooling,
    InitialWeights,
    Pooling,
    StartsAsIdentity,
    conv,
    keep_scale,
    upsample,
)
from refinenet_pl.networks.encoders import MobileNetV2Taps, make_encoder
from refinenet_pl.networks.refinenet import RefineNetDecoder, check_widths


class LightWeightRefineNet(RefinementNetwork):
    """RefineNet without residual convolution units, and with 1x1 instead of 3x3 convolutions in the decoder.

    The encoder `mobilenet_v2` gives the published MobileNet-v2 form: ReLU6, two feature maps at each of strides 16 and
    32, 256 channels everywhere, and no dropout. `decoder_channels` and `dropout` then have no effect.

    Args:
        encoder_name: Any smp encoder, or `tu-` and a timm name, with feature maps at strides 4 to 32.
        encoder_depth: How many times the encoder halves the size, 3..5. 5 uses strides 4, 8, 16 and 32.
        encoder_weights: None, smp's name of weights ("imagenet"), True for timm's, or the path of a state-dict file.
        in_channels: Channels of the image.
        classes: Channels of the output.
        activation: Activation of the output. None gives logits.
        aux_params: smp's arguments of a classification head on the coarsest feature map, or None.
        pooling: Chained residual pooling "original", "improved" or None.
        pooling_blocks: Length of the pooling chain.
        decoder_channels: Width of each level, coarse to fine. Smaller depths use the first entries.
        dropout: Dropout probability on the feature maps at strides 16 and 32.
        initial_weights: Of the decoder. "authors": all from N(0, 0.01). "identity": residual branches start at zero,
            and the main path keeps its scale.
        expand_first: Only for `mobilenet_v2`: give its first block an expansion too. The published weights have it;
            torchvision's do not.

    Raises:
        UserError: The arguments do not fit each other or the encoder.
    """

    @supports_config_loading
    def __init__(
        self,
        encoder_name: str = "resnet50",
        encoder_depth: int = 5,
        encoder_weights: str | Path | bool | None = "imagenet",
        in_channels: int = 3,
        classes: int = 1,
        activation: str | None = None,
        aux_params: dict[str, Any] | None = None,
        pooling: Pooling | None = "original",
        pooling_blocks: int = 4,
        decoder_channels: Sequence[int] = (512, 256, 256, 256),
        dropout: float = 0.5,
        initial_weights: InitialWeights = "authors",
        expand_first: bool = False,
    ) -> None:
        super().__init__()
        kind: Pooling = pooling or "original"
        length = pooling_blocks if pooling else 0
        self.encoder = make_encoder(encoder_name, in_channels, encoder_depth, encoder_weights)
        if encoder_name == "mobilenet_v2":
            self.encoder = MobileNetV2Taps(self.encoder, encoder_depth, expand_first)
            self.decoder: nn.Module = MobileDecoder(
                self.encoder.out_channels[2:], self.encoder.features_per_stride, kind, length
            )
        else:
            self.decoder = RefineNetDecoder(
                encoder_channels=list(self.encoder.out_channels),
                num_encoders=1,
                widths=check_widths(decoder_channels, encoder_depth),
                num_blocks=encoder_depth - 1,
                tap_dropout=dropout,
                final_dropout=0.0,
                rcus_per_input=0,
                rcus_per_output=0,
                pooling=kind,
                pooling_blocks=length,
                kernel_size=1,
            )
        self.add_heads(classes, activation, aux_params, initial_weights)


class MobileDecoder(nn.Module):
    """Decoder of the MobileNet-v2 form: one block per stride, coarse to fine.

    Args:
        encoder_channels: Channels of the feature maps from stride 4 on, fine to coarse.
        features_per_stride: Number of feature maps at each stride, fine to coarse.
        pooling: Kind of chained residual pooling.
        pooling_blocks: Length of the pooling chain; 0 for none.
    """

    out_channels = 256

    def __init__(
        self, encoder_channels: list[int], features_per_stride: list[int], pooling: Pooling, pooling_blocks: int
    ) -> None:
        super().__init__()
        self.features_per_block = features_per_stride[::-1]
        channels = encoder_channels[::-1]
        self.blocks = nn.ModuleList()
        for count in self.features_per_block:
            chain = ChainedResidualPooling(self.out_channels, pooling_blocks, pooling, 1, activation=nn.ReLU6)
            self.blocks.append(MobileBlock(channels[:count], chain, has_previous=len(self.blocks) > 0))
            channels = channels[count:]

    def forward(self, features: list[Tensor]) -> Tensor:
        """Refine the encoder's feature maps, given fine to coarse, into [N, 256, H/4, W/4]."""
        coarse_to_fine = features[::-1]
        previous: list[Tensor] = []
        start = 0
        for i, block in enumerate(self.blocks):
            end = start + self.features_per_block[i]
            previous = [block(coarse_to_fine[start:end] + previous)]
            start = end
        return previous[0]


class MobileBlock(StartsAsIdentity):
    """Reduces and sums the feature maps of one stride and the coarser block's upsampled output, then pools the sum.

    Args:
        encoder_channels: Channels of the encoder's feature maps.
        pooling: The pooling chain at the end.
        has_previous: Whether a coarser block's output follows the encoder's feature maps.
    """

    def __init__(self, encoder_channels: list[int], pooling: ChainedResidualPooling, has_previous: bool) -> None:
        super().__init__()
        width = MobileDecoder.out_channels
        self.reduce = nn.ModuleList(conv(channels, width, 1) for channels in encoder_channels)
        self.adapt = conv(width, width, 1) if has_previous else None
        self.pooling = pooling

    def start_as_identity(self) -> None:
        """Bring the encoder's paths to about unit scale, and let their sum keep it. The coarser block's is doubled."""
        summands = len(self.reduce) + (self.adapt is not None)
        for reduce in self.reduce:
            keep_scale(reduce, summands, FEATURE_GAIN)
        if self.adapt is not None:
            keep_scale(self.adapt, summands, FEATURE_GAIN * math.sqrt(2))

    def forward(self, paths: list[Tensor]) -> Tensor:
        """Fuse feature maps [N, encoder_channels[i], h, w], and the coarser block's output, into [N, 256, h, w]."""
        height, width = paths[0].shape[-2:]
        reduced = [reduce(paths[i]) for i, reduce in enumerate(self.reduce)]
        if self.adapt is not None:
            reduced.append(upsample(self.adapt(paths[-1]), height, width))
        fused = reduced[0]
        for path in reduced[1:]:  # TorchScript has no sum() of tensors
            fused = fused + path
        return self.pooling(fused)
