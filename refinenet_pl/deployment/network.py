"""The module that is exported: a trained network with its normalization inside."""

import torch
from torch import Tensor, nn

from refinenet_pl.evaluation.inference import full_resolution_logits
from refinenet_pl.evaluation.segmenter import Segmenter
from refinenet_pl.preprocessing import Normalize


class DeployableNetwork(nn.Module):
    """Maps uint8 images to logits or classes at the images' size.

    It sees the whole image once: scales, flips and windows of an inference are left out.

    Args:
        segmenter: The trained network with its preprocessing.
        argmax: Return the most probable class of each pixel instead of logits.
    """

    def __init__(self, segmenter: Segmenter, argmax: bool = False) -> None:
        super().__init__()
        self.network = segmenter.network.to(memory_format=torch.channels_last)
        self.normalize = Normalize(segmenter.preprocessing, torch.channels_last)
        self.argmax = argmax

    def forward(self, images: Tensor) -> Tensor:
        """Predict images, uint8 [N, 3, H, W].

        Returns:
            Logits, float32 [N, C, H, W], or class indices, uint8 [N, H, W].
        """
        logits = full_resolution_logits(self.network, self.normalize(images))
        return logits.argmax(dim=1).to(torch.uint8) if self.argmax else logits
