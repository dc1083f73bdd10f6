"""What a label image means: class names, their colors, and the value of ignored pixels."""

from dataclasses import dataclass

IGNORE_INDEX = 255
"""Mask value of ignored pixels, in every dataset. They count neither in the loss nor in the metrics."""

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset, in the order of their class indices 0, 1, 2, ...

    Attributes:
        names: One name per class.
        colors: One RGB color per class, each channel 0..255, for palette images and plots.

    Raises:
        ValueError: The numbers of names and colors differ.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colors):
            raise ValueError(f"{len(self.names)} class names but {len(self.colors)} colors: give one color per class")

    def __len__(self) -> int:
        return len(self.names)


def voc_colors(count: int) -> tuple[Color, ...]:
    """Return the color map of the PASCAL VOC devkit, which spreads the bits of the class index over R, G and B.

    Args:
        count: Number of colors, 1..256.

    Returns:
        RGB triples, 0..255. The first is black.
    """
    return tuple((_voc_channel(index, 0), _voc_channel(index, 1), _voc_channel(index, 2)) for index in range(count))


def hex_color(code: str) -> Color:
    """Return a color from its six hexadecimal digits, RRGGBB."""
    red, green, blue = bytes.fromhex(code)
    return red, green, blue


def _voc_channel(index: int, channel: int) -> int:
    return sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8))


VOC = Classes(
    names=(
        "background",
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
    colors=voc_colors(21),
)
"""PASCAL VOC's classes. They are here so that published weights get their names without importing Lightning."""
