"""Reads images and label images from files, which may come from anywhere."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image
from torchvision import tv_tensors

from refinenet_pl.archive_paths import AnyPath, as_path
from refinenet_pl.errors import UserError
from refinenet_pl.text import join

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""The formats that are read, whatever a file's suffix says. For some of its other formats, Pillow starts a program."""

LOSSY = {"JPEG", "MPO", "GIF"}
"""Formats that do not keep label values: JPEG blurs the edges between classes, GIF writers renumber the palette."""

MAX_PIXELS = 2**29 // 3
"""Images with more pixels are refused: a small file can hold billions. As RGB, so many pixels take half a GiB."""

UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, AttributeError, NotImplementedError),
    *(ArithmeticError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow raises for files that are truncated, damaged, or not images."""

GRAY_STEPS = {2: 85, 4: 17}
"""By how much Pillow multiplies the values of gray images of 2 or 4 bits, so that they fill 0..255."""

BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION = 0x0102, 0x0106, 0x0112  # tags of TIFF and EXIF
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""


def is_image(path: str | AnyPath) -> bool:
    """Whether a file has an image suffix. Hidden files do not count: macOS leaves some beside images."""
    path = as_path(path)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path: str | AnyPath, upright: bool = False) -> tv_tensors.Image:
    """Read an image file of any mode as RGB.

    The content decides how a file is read, not its suffix. A file with several images of one size, such as an
    animation, is refused. Of other files with several images (thumbnails, smaller copies), the first is read.

    Args:
        path: The file.
        upright: Turn the image as its EXIF orientation says, as viewers do. Do not turn images that have labels: label
            images are drawn for the stored pixels.

    Returns:
        uint8 [3, H, W]. 16-bit grays are scaled to 0..255; transparency is dropped.

    Raises:
        UserError: The file cannot be read as an image, or is too large.
    """
    with _opened(path, "image") as image:
        return tv_tensors.Image(to_rgb(turn_upright(image) if upright else image))


def read_mask(path: str | AnyPath, colored: bool = False) -> np.ndarray:
    """Read the stored values of a label image: palette indices, gray values, or a .mat file of SBD or PASCAL-Context.

    Args:
        path: The file.
        colored: Read the colors of the pixels instead: 0xRRGGBB each.

    Returns:
        Signed or unsigned integers [H, W].

    Raises:
        UserError: The file cannot be read, is a color image although `colored` is not set, has a lossy format, or is
            too large.
    """
    path = as_path(path)
    if path.suffix == ".mat":
        return _read_mat(path)
    with _opened(path, "label image") as image:
        if image.format in LOSSY:
            raise UserError(
                f"{path}: labels are saved as {image.format}, which changes their values. Make the label images again "
                "from their source, as PNG."
            )
        if colored:
            return _color_codes(image)
        if image.getbands() not in {("P",), ("L",), ("I",), ("1",)} and not image.mode.startswith("I;16"):
            raise _no_label_values(path, image)
        values = np.asarray(image)
        if values.dtype == np.bool_:
            return values.astype(np.uint8)
        return values // _gray_step(path, image)


def _no_label_values(path: AnyPath, image: Image.Image) -> UserError:
    found = (
        f"{path}: labels must be a palette or grayscale image whose values are class numbers, but this image has mode "
        f"{image.mode}."
    )
    if image.mode not in ("RGB", "RGBA", "LA", "PA"):
        return UserError(f"{found} Convert it to class numbers.")
    colors = join((f"'#{code:06x}'" for code in np.unique(_color_codes(image)).tolist()), limit=5)
    return UserError(
        f"{found} If its colors stand for classes, give the class of each color in data.label_ids, such as "
        f"{{'#ff0000': road}}. Its colors are {colors}."
    )


def image_size(path: str | AnyPath) -> tuple[int, int]:
    """Return the height and width of an image, without decoding its pixels. Raises UserError if it is no image."""
    with _opened(path, "image") as image:
        return image.height, image.width


def _color_codes(image: Image.Image) -> np.ndarray:
    red, green, blue = np.moveaxis(np.asarray(to_rgb(image)).astype(np.int32), -1, 0)
    return (red << 16) | (green << 8) | blue


def orientation(path: str | AnyPath) -> int:
    """Return the EXIF orientation of an image file, 1..8; 1 if it has none. Raises UserError if it cannot be read."""
    with _opened(path, "image") as image:
        return _orientation(image)


def turn_upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says, as viewers do. Damaged EXIF data counts as none."""
    turn = UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB; raises ValueError if its pixels have no known range."""
    if image.mode == "F":
        raise ValueError("32-bit floating point pixels have no fixed range; save it with 8 or 16 bits per channel")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit integer pixels exceed 0..65535; save it with 8 or 16 bits per channel")
        image = Image.fromarray((values // 257).astype(np.uint8))  # Pillow's own conversion would clip at 255
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns if a palette with transparency is converted to RGB directly
    return image.convert("RGB")


@contextmanager
def _opened(path: str | AnyPath, kind: str) -> Iterator[Image.Image]:
    """Open an image of a known format and size; turn what Pillow raises meanwhile into UserError."""
    too_large = UserError(
        f"{path}: the image has more than {MAX_PIXELS / 1e6:.0f} million pixels. Larger images are not read, because "
        "they can fill the memory of the machine. Cut it into tiles, or make it smaller."
    )
    path = as_path(path)
    try:
        with path.open("rb") as stream:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow's own limit is half of ours
                image = Image.open(stream, formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise too_large
            if _has_equal_frames(image):
                raise UserError(
                    f"{path}: the file holds several images (an animation or a stack); expected one. Save the image "
                    "that you mean as a file of its own."
                )
            yield image
    except Image.DecompressionBombError as error:
        raise too_large from error
    except UNREADABLE as error:
        raise _unreadable(path, kind, error) from error


def _has_equal_frames(image: Image.Image) -> bool:
    """Whether a second image of the same size follows. A phone's JPEG (MPO) counts as one picture."""
    if not getattr(image, "is_animated", False) or image.format == "MPO":
        return False
    size = image.size
    image.seek(1)
    equal = image.size == size
    image.seek(0)
    return equal


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except UNREADABLE:
        return 1


def _gray_step(path: AnyPath, image: Image.Image) -> int:
    """Return by how much Pillow multiplies the values of a gray image of 2 or 4 bits; 1 for all others."""
    bits = 8
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        if tags.get(PHOTOMETRIC) == 0:
            raise UserError(f"{path}: in this TIFF, 0 is white, which inverts its values. Save the label image as PNG.")
        bits = tags.get(BITS_PER_SAMPLE, (1,))[0]
    elif image.format == "PNG":
        with path.open("rb") as file:
            bits = file.read(25)[24]  # in the header, which always comes first
    return GRAY_STEPS.get(bits, 1) if image.mode == "L" else 1


def _read_mat(path: AnyPath) -> np.ndarray:
    from scipy.io import loadmat  # here, because only two datasets need it and it is slow to import
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(io.BytesIO(path.read_bytes()), variable_names=["GTcls", "LabelMap"])
        values = content["LabelMap"] if "LabelMap" in content else content["GTcls"]["Segmentation"][0, 0]
        if values.ndim != 2 or values.dtype.kind not in "ui":
            raise TypeError(f"found {values.dtype} of shape {values.shape}; expected integers [H, W]")
        return values
    except (*UNREADABLE, MatReadError) as error:
        raise _unreadable(
            path, "label file of SBD or PASCAL-Context (.mat with GTcls.Segmentation or LabelMap)", error
        ) from error


def _unreadable(path: str | AnyPath, kind: str, error: Exception) -> UserError:
    if isinstance(error, OSError) and error.strerror:  # the system's, not Pillow's
        return UserError(f"{path}: cannot be read as {kind} ({error.strerror}); expected a file that can be read")
    if isinstance(error, Image.UnidentifiedImageError):
        found = f"its content is none of the formats {', '.join(FORMATS)}"
    else:
        found = f"{type(error).__name__}: {error}"
    return UserError(
        f"{path}: cannot be read as {kind} ({found}). The file may be damaged or incomplete: get it again."
    )
