"""RefineNet (Lin, Milan, Shen, Reid: "RefineNet: Multi-Path Refinement Networks", CVPR 2017)."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from segmentation_models_pytorch.base.hub_mixin import supports_config_loading
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.networks.base import RefinementNetwork
from refinenet_pl.networks.blocks import InitialWeights, Pooling, RefineNetBlock, residual_units
from refinenet_pl.networks.encoders import make_encoder


class RefineNet(RefinementNetwork):
    """RefineNet: long-range residual connections from every level of an encoder to a high-resolution prediction.

    The first seven arguments are those of every segmentation_models_pytorch model, so it can replace `smp.FPN`.

    Args:
        encoder_name: Any smp encoder, or `tu-` and a timm name, with feature maps at strides 4 to 32.
        encoder_depth: How many times the encoder halves the size, 3..5. 5 uses strides 4, 8, 16 and 32. A smaller depth
            has fewer levels, and no more blocks than levels.
        encoder_weights: None, smp's name of weights ("imagenet"), True for timm's, or the path of a state-dict file.
        in_channels: Channels of the image.
        classes: Channels of the output.
        activation: Activation of the output. None gives logits.
        aux_params: smp's arguments of a classification head on the coarsest feature map, or None.
        num_blocks: Number of cascaded RefineNet blocks: 4 (the paper's network), 2, or 1 for all levels.
        image_scales: Factor that the encoder's input is resized by (the authors: 1.2). Two factors give the two-encoder
            variant (the authors: 1.2 and 0.6).
        pooling: Chained residual pooling "original" (CVPR 2017), "improved" (the authors' models of 2018) or None.
        pooling_blocks: Length of the pooling chain.
        rcus_per_input: Residual convolution units on each path into a block, and before the classifier.
        rcus_per_output: Residual convolution units at the end of each block.
        decoder_channels: Width of each level, coarse to fine. Smaller depths use the first entries.
        dropout: Dropout probability on the feature maps at strides 16 and 32, and before the classifier.
        initial_weights: Of the decoder. "authors": all from N(0, 0.01). "identity": residual branches start at zero,
            and the main path keeps its scale.

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
        num_blocks: int = 4,
        image_scales: Sequence[float] = (1.0,),
        pooling: Pooling | None = "original",
        pooling_blocks: int = 4,
        rcus_per_input: int = 2,
        rcus_per_output: int = 1,
        decoder_channels: Sequence[int] = (512, 256, 256, 256),
        dropout: float = 0.5,
        initial_weights: InitialWeights = "authors",
    ) -> None:
        super().__init__()
        if num_blocks not in (1, 2, 4):
            raise UserError(f"num_blocks is {num_blocks}; expected 4, 2 or 1")
        if not image_scales:
            raise UserError("image_scales is empty; expected one factor, or two for two encoders")
        self.image_scales = [float(scale) for scale in image_scales]
        self.encoder = make_encoder(encoder_name, in_channels, encoder_depth, encoder_weights)
        self.encoders_at_other_scales = nn.ModuleList(
            make_encoder(encoder_name, in_channels, encoder_depth, encoder_weights) for _ in self.image_scales[1:]
        )
        self.decoder = RefineNetDecoder(
            encoder_channels=list(self.encoder.out_channels),
            num_encoders=len(self.image_scales),
            widths=check_widths(decoder_channels, encoder_depth),
            num_blocks=num_blocks,
            tap_dropout=dropout,
            final_dropout=dropout,
            rcus_per_input=rcus_per_input,
            rcus_per_output=rcus_per_output,
            pooling=pooling or "original",
            pooling_blocks=pooling_blocks if pooling else 0,
        )
        self.add_heads(classes, activation, aux_params, initial_weights)

    def features(self, x: Tensor) -> list[Tensor]:
        """Compute the feature maps of every encoder, one encoder after the other, each fine to coarse."""
        features: list[Tensor] = self.encoder(rescale(x, self.image_scales[0]))
        for i, encoder in enumerate(self.encoders_at_other_scales):
            features = features + encoder(rescale(x, self.image_scales[i + 1]))
        return features


def check_widths(decoder_channels: Sequence[int], encoder_depth: int) -> list[int]:
    """Return the width of each level, coarse to fine; raises UserError if there are fewer widths than levels."""
    levels = encoder_depth - 1
    if len(decoder_channels) < levels:
        raise UserError(
            f"decoder_channels has {len(decoder_channels)} entries; encoder_depth={encoder_depth} needs {levels}"
        )
    return list(decoder_channels[:levels])


def rescale(x: Tensor, scale: float) -> Tensor:
    """Resize images [N, C, H, W] by a factor."""
    if scale == 1.0:
        return x
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False, antialias=scale < 1)


class RefineNetDecoder(nn.Module):
    """Cascade of RefineNet blocks, coarse to fine (figure 2c), and residual convolution units before the classifier.

    Args:
        encoder_channels: Channels of one encoder's feature maps: the image, stride 2, stride 4 and so on.
        num_encoders: Number of encoders whose feature maps are given, one encoder after the other.
        widths: Channels that each level is reduced to, coarse to fine.
        num_blocks: Number of blocks that share the levels; coarser blocks get more.
        tap_dropout: Dropout probability on the feature maps at strides 16 and 32.
        final_dropout: Dropout probability before the classifier.
        rcus_per_input: Residual convolution units on each path into a block, and before the classifier.
        block_options: Further arguments of every `RefineNetBlock`.
    """

    def __init__(
        self,
        encoder_channels: list[int],
        num_encoders: int,
        widths: list[int],
        num_blocks: int,
        tap_dropout: float,
        final_dropout: float,
        rcus_per_input: int,
        **block_options: Any,
    ) -> None:
        super().__init__()
        self.features_per_encoder = per_encoder = len(encoder_channels)
        levels = list(range(per_encoder - 1, 1, -1))  # index of each level's feature map; its stride is 2**index
        self.taps: list[list[int]] = []  # indices of the feature maps that each block takes
        self.blocks = nn.ModuleList()
        previous_channels: int | None = None
        for block_levels in split_evenly(levels, num_blocks):
            taps = [encoder * per_encoder + level for level in block_levels for encoder in range(num_encoders)]
            block = RefineNetBlock(
                encoder_channels=[encoder_channels[tap % per_encoder] for tap in taps],
                widths=[widths[levels.index(tap % per_encoder)] for tap in taps],
                previous_channels=previous_channels,
                rcus_per_input=rcus_per_input,
                **block_options,
            )
            self.taps.append(taps)
            self.blocks.append(block)
            previous_channels = block.out_channels
        self.out_channels: int = block.out_channels
        self.final_units = residual_units(self.out_channels, rcus_per_input)
        self.tap_dropout = nn.Dropout(tap_dropout)
        self.final_dropout = nn.Dropout(final_dropout)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Refine the encoders' feature maps into [N, out_channels, H/4, W/4]."""
        previous: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            paths = [
                # Levels 4 and 5 have strides 16 and 32.
                self.tap_dropout(features[tap]) if tap % self.features_per_encoder >= 4 else features[tap]
                for tap in self.taps[i]
            ]
            previous = [block(paths + previous)]
        return self.final_dropout(self.final_units(previous[0]))


def split_evenly(levels: list[int], parts: int) -> list[list[int]]:
    """Split consecutive levels into parts as evenly as possible; the first parts take the remainder."""
    parts = min(parts, len(levels))
    ends = [-(-len(levels) * part // parts) for part in range(parts + 1)]
    return [levels[start:end] for start, end in pairwise(ends)]
