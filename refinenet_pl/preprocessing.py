"""Pixel statistics and classes of trained weights, and the normalization of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refinenet_pl.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    """Pixel statistics and classes of a network.

    The same value is in the task, its checkpoints and the weights folder.

    Attributes:
        mean: Mean of each channel, for pixels scaled to `pixel_range`. It is subtracted from the image. None means 0.
        std: Standard deviation of each channel. The image is divided by it. None means 1.
        class_names: One name per class.
        class_colors: One RGB triple per class, 0..255.
        pixel_range: Range that pixels are scaled to first. Only [0, 1] is supported.
        image_scale: Factor that images are resized by first. Only 1 is supported: a network that needs another scale
            resizes its input itself (`image_scales`).

    Raises:
        UserError: A value has another type, or the numbers of names and colors differ.
    """

    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    class_names: Sequence[str] = ()
    class_colors: Sequence[Sequence[int]] = ()
    pixel_range: Sequence[float] = (0.0, 1.0)
    image_scale: float = 1.0

    def __post_init__(self) -> None:
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and (not _is_list(values, float | int) or len(values) not in (1, 3)):
                raise UserError(f"preprocessing has {key} {values!r}; expected 3 numbers, one per channel")
        if not _is_list(self.class_names, str):
            raise UserError(f"preprocessing has class_names {self.class_names!r}; expected a list of names")
        if not _is_list(self.class_colors, Sequence) or not all(_is_list(color, int) for color in self.class_colors):
            raise UserError(f"preprocessing has class_colors {self.class_colors!r}; expected lists of 3 numbers")
        if len(self.class_names) != len(self.class_colors):
            raise UserError(
                f"preprocessing has {len(self.class_names)} class_names and {len(self.class_colors)} class_colors; "
                "give one name and one color per class"
            )


def _is_list(values: Any, kind: Any) -> bool:
    """Return whether a value from a file is a list of values of a type."""
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str)
        and all(isinstance(value, kind) for value in values)
    )


class Normalize(nn.Module):
    """Normalizes uint8 images to the floats that a network expects.

    Mean and standard deviation move with the module from device to device. They are not part of its state dict,
    because they belong to the configuration.

    Args:
        preprocessing: Mean and standard deviation of the channels.
        memory_format: Memory layout of the result.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing, memory_format: torch.memory_format = torch.channels_last) -> None:
        super().__init__()
        self.memory_format = memory_format
        self.register_buffer("mean", 255 * torch.tensor(preprocessing.mean or [0.0]).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(preprocessing.std or [1.0]).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalize images, uint8 [N, C, H, W], to float32 of the same shape."""
        return ((images - self.mean) / self.std).contiguous(memory_format=self.memory_format)
