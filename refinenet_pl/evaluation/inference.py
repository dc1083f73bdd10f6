"""From an image to logits at its own size."""

import torch.nn.functional as F
from torch import Tensor, nn


def whole_image(network: nn.Module, images: Tensor) -> Tensor:
    """Logits [N, C, H, W] of normalised images [N, 3, H, W] of any size.

    Networks of segmentation_models_pytorch that take only multiples of their stride see the image padded at the right
    and at the bottom with the mean colour (0), and what they say of the padding is cut off.
    """
    if not getattr(network, "requires_divisible_input_shape", False):
        return network(images)
    height, width = images.shape[-2:]
    stride: int = network.encoder.output_stride  # type: ignore[union-attr, assignment]
    padded = F.pad(images, (0, -width % stride, 0, -height % stride))
    return network(padded)[..., :height, :width]
