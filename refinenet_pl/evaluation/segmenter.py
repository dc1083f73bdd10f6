"""A trained network with its preprocessing and inference: one call from an image to its segmentation."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import Inference
from refinenet_pl.evaluation.pictures import overlay
from refinenet_pl.images import read_image, to_rgb
from refinenet_pl.preprocessing import Normalize, Preprocessing

ImageLike = str | Path | Image.Image | np.ndarray | Tensor
"""An image file, a PIL image, an array uint8 [H, W, 3] or [H, W] (gray), or a tensor uint8 [3, H, W] or [H, W]."""


class Segmenter:
    """Segments images of any size.

    Example:
        >>> segmenter = Segmenter(network.eval(), preprocessing)
        >>> mask = segmenter.to("cuda").predict("street.jpg")  # class indices, uint8 [H, W]
        >>> segmenter.overlay("street.jpg").save("overlay.png")

    Args:
        network: Maps normalized images [N, 3, H, W] to logits [N, C, H, W]. Its mode is not changed: call `eval()`
            first. Images are moved to its device.
        preprocessing: Pixel statistics and classes of the network.
        inference: Scales, flips and windows. None takes whole images.
        memory_format: Memory layout of the normalized image; use the network's.
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

    @property
    def class_colors(self) -> list[list[int]]:
        """One RGB triple per class, 0..255."""
        return [list(color) for color in self.preprocessing.class_colors]

    def to(self, device: str | torch.device) -> "Segmenter":
        """Move the network to a device.

        Returns:
            This segmenter, for chaining.
        """
        self.network.to(device)
        return self

    def predict(self, image: ImageLike) -> np.ndarray:
        """Predict the class index of each pixel.

        Args:
            image: A file, a PIL image, an array or a tensor of any size. Files are turned as their EXIF orientation
                says; PIL images are used as they are. Gray values are repeated over the three channels; transparency
                is dropped.

        Returns:
            uint8 [H, W], the size of the image.

        Raises:
            UserError: The image cannot be read, or its type or shape is unsupported.
        """
        return self.predict_tensor(to_tensor(image)).cpu().numpy()

    def probabilities(self, image: ImageLike) -> np.ndarray:
        """Compute the softmax probability of each class; arguments and errors as in `predict`.

        Returns:
            float32 [C, H, W]; sums to 1 over the classes.
        """
        return self.inference.probabilities(self.network, self._normalized(to_tensor(image))).cpu().numpy()

    def overlay(self, image: ImageLike, opacity: float = 0.5) -> Image.Image:
        """Blend the predicted classes' colors over the image; `image` and errors as in `predict`.

        Args:
            image: The image.
            opacity: Weight of the colors, 0..1.

        Raises:
            UserError: The segmenter has no class colors.
        """
        if not self.preprocessing.class_colors:
            raise UserError("overlay needs preprocessing.class_colors; found none: give one RGB triple per class")
        pixels = to_tensor(image)
        prediction = self.predict_tensor(pixels).cpu().numpy()
        blended = overlay(pixels.permute(1, 2, 0).cpu().numpy(), prediction, self.class_colors, opacity)
        return Image.fromarray(blended)

    def predict_tensor(self, image: Tensor, inference: Inference | None = None) -> Tensor:
        """Predict a tensor, without leaving the network's device.

        Args:
            image: uint8 [3, H, W] on any device.
            inference: Replaces the segmenter's inference.

        Returns:
            Class indices, uint8 [H, W], on the network's device.
        """
        return (inference or self.inference).predict(self.network, self._normalized(image))

    def _normalized(self, image: Tensor) -> Tensor:
        # The network may have been moved by others, for example by a trainer.
        device = next(self.network.parameters(), self.normalize.mean).device
        return self.normalize.to(device)(image[None].to(device))[0]


def to_tensor(image: ImageLike) -> Tensor:
    """Convert an image to a tensor; `image` as in `Segmenter.predict`.

    Returns:
        uint8 [3, H, W].

    Raises:
        UserError: The image cannot be read, or its type or shape is unsupported.
    """
    if isinstance(image, str | Path):
        return read_image(Path(image), upright=True)
    if isinstance(image, Image.Image):
        return _to_tensor(np.asarray(_rgb(image)))
    if isinstance(image, np.ndarray | Tensor):
        return _to_tensor(image)
    raise UserError(f"image: found {type(image).__name__}; expected a path, a PIL image, an array or a tensor")


def _rgb(image: Image.Image) -> Image.Image:
    try:
        return to_rgb(image)
    except ValueError as error:
        raise UserError(f"image: cannot convert a PIL image of mode {image.mode} to RGB: {error}") from error


def _to_tensor(image: np.ndarray | Tensor) -> Tensor:
    kind, channel_axis, expected = (
        ("an array", -1, "[H, W, 3]") if isinstance(image, np.ndarray) else ("a tensor", 0, "[3, H, W]")
    )
    if image.dtype not in (np.uint8, torch.uint8):
        raise UserError(
            f"image: found {kind} of {image.dtype}; expected uint8 with values 0..255. Multiply values in 0..1 by "
            "255, round them, and convert them to uint8"
        )
    is_gray = image.ndim == 2
    if 0 in image.shape or not (is_gray or (image.ndim == 3 and image.shape[channel_axis] == 3)):
        raise UserError(
            f"image: found {kind} of shape {list(image.shape)}; expected {expected}, or [H, W] for gray values"
        )
    # The copy makes read-only arrays, and arrays with negative strides, usable.
    tensor = torch.from_numpy(image.copy()) if isinstance(image, np.ndarray) else image
    return tensor.expand(3, -1, -1) if is_gray else tensor.movedim(channel_axis, 0)
