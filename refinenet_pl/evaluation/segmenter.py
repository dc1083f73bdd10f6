"""A trained network together with its preprocessing and inference: from an image to its segmentation."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from refinenet_pl.errors import UserError
from refinenet_pl.evaluation.inference import Inference, See
from refinenet_pl.evaluation.pictures import overlay
from refinenet_pl.evaluation.windows import WindowLogits
from refinenet_pl.images import UNREADABLE, read_image, to_rgb, turn_upright
from refinenet_pl.preprocessing import Normalize, Preprocessing

ImageLike = str | Path | Image.Image | np.ndarray | Tensor
"""An image file, a PIL image of any mode, an array uint8 [H, W, 3] or [H, W] (gray), or a tensor uint8 [3, H, W].

Files and PIL images are turned upright by their EXIF orientation.
"""


class Segmenter:
    """Segments images of any size.

    Examples:
        >>> segmenter = refinenet_pl.load("runs/camvid").to("cuda")
        >>> segmenter.predict("street.jpg")  # class indices, uint8 [H, W]
        >>> segmenter.overlay("street.jpg").save("overlay.png")

    Args:
        network: Maps images [N, 3, H, W] to logits [N, C, H, W]. Its mode is not changed: call `network.eval()` first.
        preprocessing: Pixel statistics and classes of the network.
        inference: Scales, flips and windows. None: the whole image, once.
        memory_format: Memory layout of the network's weights and input. Channels-last is the default: max-pooling is
            then about ten times as fast on CPUs, and convolutions are faster on CPUs and GPUs.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        inference: Inference | None = None,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        self.network = network.to(memory_format=memory_format)
        self.preprocessing = preprocessing
        self.inference = inference or Inference()
        self.normalize = Normalize(preprocessing, memory_format)

    @property
    def class_names(self) -> list[str]:
        """One name per class."""
        return list(self.preprocessing.class_names)

    @property
    def class_colors(self) -> list[tuple[int, ...]]:
        """One RGB triple per class, 0..255."""
        return [tuple(color) for color in self.preprocessing.class_colors]

    def to(self, device: str | torch.device) -> "Segmenter":
        """Move the network to a device, and return this segmenter."""
        self.network.to(device)
        self.normalize.to(device)
        return self

    def predict(self, image: ImageLike) -> np.ndarray:
        """Return the class index of each pixel, uint8 [H, W], at the image's own size.

        Raises:
            UserError: The image cannot be read, or has an unsupported type or shape.
        """
        return self.predict_tensor(to_tensor(image)).cpu().numpy()

    def probabilities(self, image: ImageLike) -> np.ndarray:
        """Return the softmax probabilities, float32 [C, H, W], at the image's own size.

        Raises:
            UserError: The image cannot be read, or has an unsupported type or shape.
        """
        return self.probability_tensor(to_tensor(image)).cpu().numpy()

    def overlay(self, image: ImageLike, opacity: float = 0.5) -> Image.Image:
        """Return the image blended with the colors of the predicted classes, and with their contours.

        Args:
            image: The image.
            opacity: Weight of the colors, 0..1. Contours have the colors of their classes.

        Raises:
            UserError: The image cannot be read, or has an unsupported type or shape; or there are no class colors.
        """
        if not self.class_colors:
            raise UserError("preprocessing.class_colors is empty; an overlay needs one RGB triple per class")
        pixels = to_tensor(image)
        mask = self.predict_tensor(pixels).cpu().numpy()
        pixels_last = pixels.permute(1, 2, 0).cpu().numpy()
        return Image.fromarray(overlay(pixels_last, mask, self.class_colors, opacity))

    def predict_tensor(self, image: Tensor, inference: Inference | None = None) -> Tensor:
        """Predict an image on the network's device.

        Args:
            image: uint8 [3, H, W], on any device.
            inference: Used instead of the segmenter's own.

        Returns:
            Class indices, uint8 [H, W], on the network's device.
        """
        return self.predict_tensors([image], inference)[0]

    def probability_tensor(self, image: Tensor) -> Tensor:
        """Return the softmax probabilities of an image uint8 [3, H, W]: float32 [C, H, W] on the network's device."""
        return self.inference.probabilities(self.network, self.normalized(image[None]))[0]

    def predict_tensors(
        self, images: Sequence[Tensor], inference: Inference | None = None, see: See | None = None
    ) -> list[Tensor]:
        """Predict several images. Neighbors of the same size share their network calls.

        Args:
            images: uint8 [3, H, W] each, on any device.
            inference: Used instead of the segmenter's own.
            see: Called with the index of an image and the logits of a window, for each window.

        Returns:
            For each image the class indices, uint8 [H, W], on the network's device.
        """
        inference = inference or self.inference
        masks: list[Tensor] = []
        for _, group in groupby(images, key=lambda image: image.shape):
            shifted = see and partial(_shifted, see, len(masks))
            masks += inference.predict(self.network, self.normalized(torch.stack(list(group))), shifted)
        return masks

    def normalized(self, images: Tensor) -> Tensor:
        """Return images, uint8 [N, 3, H, W], as the network takes them: normalized floats on its device."""
        # The network's owner, for example Lightning, may have moved it since.
        device = next(self.network.parameters(), self.normalize.mean).device
        return self.normalize.to(device)(images.to(device))


def _shifted(see: See, first: int, index: int, window: WindowLogits) -> None:
    """Pass on a window of the image with this index after the first."""
    see(first + index, window)


def to_tensor(image: ImageLike) -> Tensor:
    """Return the pixels of an image, uint8 [3, H, W].

    Raises:
        UserError: The image cannot be read, or has an unsupported type or shape.
    """
    if isinstance(image, str | Path):
        return read_image(Path(image), upright=True)
    if isinstance(image, Image.Image):
        return _from_pil(image)
    if not isinstance(image, np.ndarray | Tensor):
        raise UserError(
            f"image: found {type(image).__name__}; expected a path, a PIL image, a numpy array or a torch tensor"
        )
    description = f"{image.dtype} {list(image.shape)}"
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
        array = np.stack([image] * 3, axis=-1) if image.ndim == 2 else image
        image = torch.from_numpy(array.copy()).movedim(-1, 0)
    if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.ndim != 3 or len(image) != 3:
        raise UserError(
            f"image: found {description}; expected uint8 values 0..255, as an array [H, W, 3] or [H, W], or as a "
            "tensor [3, H, W]. Multiply values in 0..1 by 255 and convert them to uint8"
        )
    if image.numel() == 0:
        raise UserError(f"image: found {description}, which has no pixels")
    return image


def _from_pil(image: Image.Image) -> Tensor:
    try:
        rgb = to_rgb(turn_upright(image))
    except UNREADABLE as error:
        raise UserError(f"image: cannot convert a PIL image of mode {image.mode} to RGB: {error}") from error
    return torch.from_numpy(np.array(rgb)).movedim(-1, 0)
