"""What a label image means: class names, their colors, and the value that is no class."""

from dataclasses import dataclass

IGNORE_INDEX = 255
"""Label value of pixels that neither train nor score, in every dataset, once read."""

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset, in the order of their train ids 0, 1, 2, ...

    Attributes:
        names: One name per class.
        colors: One RGB color per class, each channel 0..255, for masks and pictures.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colors):
            raise ValueError(f"{len(self.names)} class names but {len(self.colors)} colors: give one color a class")

    def __len__(self) -> int:
        return len(self.names)


def voc_colors(count: int) -> tuple[Color, ...]:
    """The color map of the PASCAL VOC devkit: the bits of the class index, dealt in turn to R, G and B.

    Args:
        count: How many colors, 1..256.

    Returns:
        RGB triples; the first is black.
    """
    return tuple(tuple(_voc_channel(index, channel) for channel in range(3)) for index in range(count))  # type: ignore[misc]


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
