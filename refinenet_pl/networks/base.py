"""What the networks share: smp's conventions, logits at the network's own stride, any input size."""

from typing import Any

import torch.nn.functional as F
from segmentation_models_pytorch.base import ClassificationHead, SegmentationHead, SegmentationModel
from segmentation_models_pytorch.base.modules import Activation
from torch import Tensor, nn


class RefinementNetwork(SegmentationModel):
    """An encoder, a decoder, and a 3x3 classifier whose logits are upsampled to the image.

    Subclasses set `encoder` and `decoder`, then call `add_heads`. The decoder ends at stride 4, unless a subclass says
    otherwise.
    """

    requires_divisible_input_shape = False

    def add_heads(self, classes: int, activation: str | None, aux_params: dict[str, Any] | None) -> None:
        """Add the heads and draw the decoder's first weights."""
        self.segmentation_head = SegmentationHead(self.decoder.out_channels, classes, kernel_size=3)
        self.activation = Activation(activation)
        self.classification_head = (
            ClassificationHead(in_channels=self.encoder.out_channels[-1], **aux_params) if aux_params else None
        )
        self.initialize()
        # A saved network holds all its weights: loading it must not ask for the encoder's again.
        self.config["encoder_weights"] = None

    def initialize(self) -> None:
        """Draw the decoder's weights from N(0, 0.01) with biases 0, as the authors do."""
        for module in [*self.decoder.modules(), *self.segmentation_head.modules()]:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features(self, x: Tensor) -> list[Tensor]:
        """The encoder's maps."""
        return self.encoder(x)

    def forward_logits(self, x: Tensor) -> Tensor:
        """Logits [N, classes, h, w] of images [N, in_channels, H, W], before upsampling.

        h and w are H and W over the stride at which the decoder ends, rounded as the encoder does (most: up). Where the
        network sees the image resized, H and W are those of the resized image.
        """
        return self.segmentation_head(self.decoder(self.features(x)))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Scores [N, classes, H, W] of images [N, in_channels, H, W] of any size; with aux_params also class scores."""
        features = self.features(x)
        logits = self.segmentation_head(self.decoder(features))
        masks = self.activation(F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False))
        if self.classification_head is not None:
            return masks, self.classification_head(features[-1])
        return masks
