"""Base class of the networks: smp's conventions, logits at the decoder's resolution, inputs of any size."""

from typing import Any, get_args

import torch.nn.functional as F
from segmentation_models_pytorch.base import ClassificationHead, SegmentationHead, SegmentationModel
from segmentation_models_pytorch.base.modules import Activation
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.networks.blocks import InitialWeights, StartsAsIdentity


class RefinementNetwork(SegmentationModel):
    """An encoder, a decoder, and a 3x3 classifier whose logits are upsampled to the image's size.

    Subclasses set `encoder` and `decoder`, then call `add_heads`. The decoder's output has stride 4 unless a subclass
    documents another.
    """

    requires_divisible_input_shape = False

    def add_heads(
        self,
        classes: int,
        activation: str | None,
        aux_params: dict[str, Any] | None,
        initial_weights: InitialWeights = "authors",
    ) -> None:
        """Add the segmentation head, the optional classification head, and initialize the decoder.

        Args:
            classes: Channels of the output.
            activation: smp's name of the output's activation. None gives logits.
            aux_params: smp's arguments of a classification head, or None.
            initial_weights: "authors", or "identity" for blocks that start as the identity.

        Raises:
            UserError: `initial_weights` is something else.
        """
        if initial_weights not in get_args(InitialWeights):
            raise UserError(f"initial_weights is {initial_weights!r}; expected {' or '.join(get_args(InitialWeights))}")
        self.segmentation_head = SegmentationHead(self.decoder.out_channels, classes, kernel_size=3)
        self.activation = Activation(activation)
        self.classification_head = (
            ClassificationHead(in_channels=self.encoder.out_channels[-1], **aux_params) if aux_params else None
        )
        self.initialize()
        if initial_weights == "identity":
            for module in self.decoder.modules():
                if isinstance(module, StartsAsIdentity):
                    module.start_as_identity()
        # Saved networks contain all weights. Loading one must not request the encoder's weights again.
        self.config["encoder_weights"] = None

    def initialize(self) -> None:
        """Draw the decoder's weights from a normal distribution (std 0.01), with zero biases, as the authors do."""
        for module in [*self.decoder.modules(), *self.segmentation_head.modules()]:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features(self, x: Tensor) -> list[Tensor]:
        """Compute the encoder's feature maps, fine to coarse; the image is the first."""
        return self.encoder(x)

    def forward_logits(self, x: Tensor) -> Tensor:
        """Compute logits before upsampling.

        Args:
            x: Images [N, in_channels, H, W] of any size.

        Returns:
            Logits [N, classes, h, w]. h and w are H and W divided by the decoder's stride, rounded as the encoder does
            (usually up). If the network resizes its input, H and W are those of the resized image.
        """
        return self.segmentation_head(self.decoder(self.features(x)))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Compute the output at the images' size.

        Args:
            x: Images [N, in_channels, H, W] of any size.

        Returns:
            Logits [N, classes, H, W], or the activation's output. With `aux_params`, also the logits of the
            classification head, [N, aux_classes].
        """
        features = self.features(x)
        logits = self.segmentation_head(self.decoder(features))
        masks = self.activation(F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False))
        if self.classification_head is not None:
            return masks, self.classification_head(features[-1])
        return masks
