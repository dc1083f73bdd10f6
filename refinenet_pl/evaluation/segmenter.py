"""A trained network with all that it takes to segment an image."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.evaluation.pictures import overlay
from refinenet_pl.images import read_image
from refinenet_pl.preprocessing import Normalize, Preprocessing

ImageLike = str | Path | Image.Image | np.ndarray | Tensor
"""An image file, a PIL image, an array uint8 [H, W, 3], or a tensor uint8 [3, H, W]."""


class Segmenter:
    """Segments images of any size with a network.

    Args:
        network: Maps images [N, 3, H, W] to logits [N, C, H, W]. It is used in the mode that it is in.
        preprocessing: Pixel statistics and classes of the network.
        inference: Scales, flips and windows.
        memory_format: Memory layout of the network's input.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        inference: Inference | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.network = network
        self.preprocessing = preprocessing
        self.inference = inference or Inference()
        self.normalize = Normalize(preprocessing, memory_format)

    @property
    def class_names(self) -> list[str]:
        """One name per class."""
        return list(self.preprocessing.class_names)

    def to(self, device: str | torch.device) -> "Segmenter":
        """Move the network to a device; returns this segmenter."""
        self.network.to(device)
        self.normalize.to(device)
        return self

    def predict(self, image: ImageLike) -> np.ndarray:
        """The class index of each pixel, uint8 [H, W], at the image's own size.

        Raises:
            UserError: The image cannot be read, or has another shape or type.
        """
        return self.predict_tensor(to_tensor(image)).cpu().numpy()

    def probabilities(self, image: ImageLike) -> np.ndarray:
        """The softmax probabilities, float32 [C, H, W], at the image's own size; raises what `predict` raises."""
        return self.inference.probabilities(self.network, self._normalized(to_tensor(image))).cpu().numpy()

    def overlay(self, image: ImageLike, opacity: float = 0.5) -> Image.Image:
        """The image with the predicted classes' colors on top; raises what `predict` raises."""
        pixels = to_tensor(image)
        prediction = self.predict_tensor(pixels).cpu().numpy()
        picture = overlay(pixels.permute(1, 2, 0).cpu().numpy(), prediction, self.preprocessing.class_colors, opacity)
        return Image.fromarray(picture)

    def predict_tensor(self, image: Tensor, inference: Inference | None = None) -> Tensor:
        """Predict on the network's device.

        Args:
            image: uint8 [3, H, W].
            inference: Replaces the segmenter's own.

        Returns:
            The class index of each pixel, uint8 [H, W].
        """
        return (inference or self.inference).predict(self.network, self._normalized(image))

    def _normalized(self, image: Tensor) -> Tensor:
        return self.normalize(image[None].to(self.normalize.mean.device))[0]


def to_tensor(image: ImageLike) -> Tensor:
    """The pixels of an image, uint8 [3, H, W]; raises UserError if it cannot be read as an RGB image."""
    if isinstance(image, str | Path):
        return read_image(Path(image), upright=True)
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB"))
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, 0)
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
        raise UserError(
            f"image: found {image.dtype} {list(image.shape)}; expected uint8, as an array [H, W, 3] or a tensor "
            "[3, H, W] with values 0..255"
        )
    return image
