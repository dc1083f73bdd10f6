"""Images and label images as untrusted files: read with the right values, or refused by name."""

import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from refinenet_pl import images
from refinenet_pl.errors import UserError
from refinenet_pl.images import orientation, read_image, read_mask, turn_upright

RED, GREEN = (255, 0, 0), (0, 255, 0)
GRAY = np.array([[0, 51], [102, 255]], np.uint8)
"""Grays that survive every conversion of these tests."""


def pil(mode: str = "RGB", **options: Any) -> Callable[[Path], object]:
    """Save GRAY in a mode of Pillow."""
    return lambda path: Image.fromarray(GRAY).convert("RGB").convert(mode).save(path, **options)


def png(bits: int, rows: list[list[int]], color_type: int = 0) -> Callable[[Path], object]:
    """Save a PNG with samples of any depth, written from its specification."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    def packed(row: list[int]) -> bytes:
        text = "".join(f"{value:0{bits}b}" for value in row)
        return b"\0" + bytes(int(text[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(text), 8))

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    header = struct.pack(">IIBBBBB", len(rows[0]) // channels, len(rows), bits, color_type, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(3 * 2**bits))) if color_type == 3 else b""
    pixels = zlib.compress(b"".join(map(packed, rows)))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return lambda path: path.write_bytes(content)


def frames(*sizes: tuple[int, int], **options: Any) -> Callable[[Path], object]:
    """Save one red image and then green ones."""
    first, *others = [Image.new("RGB", size, GREEN if index else RED) for index, size in enumerate(sizes)]
    return lambda path: first.save(path, save_all=True, append_images=others, **options)


def exif(*tags: tuple[int, int, int, bytes]) -> bytes:
    """EXIF data of raw entries: tag, type, count, and 4 bytes of value or offset."""
    entries = b"".join(struct.pack(">HHI", *tag[:3]) + tag[3] for tag in tags)
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, len(tags)) + entries + b"\0\0\0\0"


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


TURN = (0x0112, 3, 1, b"\0\3\0\0")
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    ("name", "save", "expected"),
    [
        ("gray_1.png", png(1, [[0, 1], [1, 0]]), [[0, 255], [255, 0]]),
        ("gray_2.png", png(2, [[0, 1, 2, 3]]), [[0, 85, 170, 255]]),
        ("gray_4.png", png(4, [[0, 1, 15]]), [[0, 17, 255]]),
        ("gray_16.png", png(16, [[0, 257, 65535]]), [[0, 1, 255]]),
        ("color_16.png", png(16, [[257 * 7] * 3 + [65535] * 3], color_type=2), [[7, 255]]),
        ("gray_alpha_16.png", png(16, [[257 * 7, 0, 65535, 65535]], color_type=4), [[7, 255]]),
        ("alpha.png", pil("RGBA"), GRAY),
        ("gray_alpha.png", pil("LA"), GRAY),
        ("palette.png", pil("P"), GRAY),
        ("transparent.png", pil("P", transparency=0), GRAY),
        ("transparent_gray.png", pil("L", transparency=51), GRAY),
        ("cmyk.tif", pil("CMYK"), GRAY),
        ("ycbcr.tif", pil("YCbCr"), GRAY),
        ("gray.bmp", pil("L"), GRAY),
        ("lossless.webp", pil(lossless=True), GRAY),
        ("png_inside.jpg", pil(format="PNG"), GRAY),
        ("still.gif", pil("L"), GRAY),
        ("one_pixel.png", png(8, [[9]]), [[9]]),
        ("thumbnail.tif", frames((4, 4), (2, 2)), [[255] * 4] * 4),
        ("phone.jpg", frames((8, 8), (8, 8), format="MPO", quality=100), [[255] * 8] * 8),
        ("int_32.tif", lambda path: Image.fromarray(np.array([[0, 65535]], np.int32)).save(path), [[0, 255]]),
    ],
)
def test_image_is_read_right(tmp_path, name, save, expected):
    save(tmp_path / name)
    image = read_image(tmp_path / name, upright=True)
    assert image.shape == (3, *np.shape(expected))
    assert np.abs(image[0].numpy().astype(int) - np.array(expected)).max() <= 1


@pytest.mark.parametrize(
    ("name", "save", "words"),
    [
        ("empty.png", content(b""), "none of the formats"),
        ("text.jpg", content(b"hello"), "none of the formats"),
        ("postscript.png", content(EPS), "none of the formats"),
        ("folder.png", Path.mkdir, "Is a directory"),
        ("animation.gif", frames((4, 4), (4, 4)), "several images"),
        ("animation.png", frames((4, 4), (4, 4)), "several images"),
        ("animation.webp", frames((4, 4), (4, 4)), "several images"),
        ("stack.tif", frames((4, 4), (4, 4), (4, 4)), "several images"),
        ("float.tif", lambda path: Image.fromarray(np.zeros((4, 4), np.float32)).save(path), "floating point"),
        ("large.tif", lambda path: Image.fromarray(np.array([[70000]], np.int32)).save(path), "exceed 0..65535"),
    ],
)
def test_other_image_is_refused(tmp_path, name, save, words):
    save(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: .*{words}"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("pixels", [images.MAX_PIXELS + 1, 2 * images.MAX_PIXELS])
@pytest.mark.parametrize("read", [read_image, read_mask, orientation])
def test_huge_image_is_refused(tmp_path, pixels, read):
    """A file of 100 bytes whose header promises many pixels: the one exceeds our limit, the other Pillow's as well."""
    png(8, [[0]])(tmp_path / "bomb.png")
    data = bytearray((tmp_path / "bomb.png").read_bytes())
    data[16:24] = struct.pack(">II", 10_000, -(-pixels // 10_000))
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(UserError, match=r"bomb\.png: .*more than 179 million pixels.*tiles") as error:
        read(tmp_path / "bomb.png")
    assert "damaged" not in str(error.value)


def test_limit_holds_without_pillows(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as some packages set it
    monkeypatch.setattr(images, "MAX_PIXELS", 3)
    pil()(tmp_path / "a.png")
    with pytest.raises(UserError, match="more than"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    "damage",
    [
        (0x0128, 10, 1, b"\0\0\0\0"),  # an offset to nowhere
        (0x010F, 5, 1, b"\0\0\0\x08"),  # a fraction with nothing below
        (0x011B, 1, 4, b"\1\2\3\4"),  # bytes instead of a fraction
        (0x0112, 2, 1, b"x\0\0\0"),  # an orientation that is text
    ],
)
def test_broken_exif_is_no_obstacle(tmp_path, damage):
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    tags = [damage] if damage[0] == TURN[0] else [TURN, damage]
    Image.fromarray(noise).save(tmp_path / "a.jpg", exif=exif(*tags))
    stored = np.asarray(Image.open(tmp_path / "a.jpg")).transpose(2, 0, 1)
    read = read_image(tmp_path / "a.jpg", upright=True).numpy()
    assert np.array_equal(read, stored) or np.array_equal(read, stored[:, ::-1, ::-1])


@pytest.mark.parametrize("number", range(9))
def test_orientations_agree_with_pillow(tmp_path, number):
    from PIL import ImageOps

    tags = Image.Exif()
    tags[0x0112] = number
    Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3)).save(tmp_path / "a.png", exif=tags)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(turn_upright(image)), np.asarray(ImageOps.exif_transpose(image)))
    assert orientation(tmp_path / "a.png") == number


def tiff(photometric: int) -> Callable[[Path], object]:
    """Save 0..3 as gray TIFF of 2 bits, written from its specification; 0 is white or black."""
    values = {256: 4, 257: 1, 258: 2, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1, 279: 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    pixels = bytes([0b00011011]).ljust(8, b"\0")
    return content(b"II*\0" + struct.pack("<I", 16) + pixels + struct.pack("<H", len(values)) + entries + bytes(4))


@pytest.mark.parametrize(
    ("name", "save", "expected"),
    [
        ("gray_1.png", png(1, [[0, 1]]), [[0, 1]]),
        ("gray_2.png", png(2, [[0, 1, 2, 3, 3]]), [[0, 1, 2, 3, 3]]),
        ("gray_4.png", png(4, [[0, 3, 11, 15]]), [[0, 3, 11, 15]]),
        ("gray_8.png", png(8, [[0, 85, 255]]), [[0, 85, 255]]),
        ("gray_16.png", png(16, [[0, 300, 65535]]), [[0, 300, 65535]]),
        ("palette_1.png", png(1, [[0, 1]], color_type=3), [[0, 1]]),
        ("palette_2.png", png(2, [[0, 1, 2, 3]], color_type=3), [[0, 1, 2, 3]]),
        ("palette_4.png", png(4, [[0, 3, 11]], color_type=3), [[0, 3, 11]]),
        ("gray_2.tif", tiff(photometric=1), [[0, 1, 2, 3]]),
        ("gray.bmp", pil("L"), GRAY),
    ],
)
def test_label_values_are_the_stored_ones(tmp_path, name, save, expected):
    save(tmp_path / name)
    assert np.array_equal(read_mask(tmp_path / name), expected)


@pytest.mark.parametrize(
    ("name", "save", "words"),
    [
        ("labels.jpg", pil("L"), "JPEG, which changes"),
        ("labels.png", pil("L", format="JPEG"), "JPEG, which changes"),
        ("color.png", pil("RGB"), "mode RGB"),
        ("gray_alpha.png", pil("LA"), "mode LA"),
        ("inverted.tif", tiff(photometric=0), "0 is white"),
        ("float.tif", lambda path: Image.fromarray(np.zeros((4, 4), np.float32)).save(path), "mode F"),
        ("empty.png", content(b""), "none of the formats"),
        ("labels.gif", pil("L"), "GIF, which changes"),
        ("animation.png", frames((4, 4), (4, 4)), "several images"),
    ],
)
def test_other_labels_are_refused(tmp_path, name, save, words):
    save(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}: .*{words}"):
        read_mask(tmp_path / name)


@pytest.mark.parametrize("values", [np.zeros((2, 2)), np.zeros((2, 2, 2), np.uint8), "text"])
def test_mat_without_integers_is_refused(tmp_path, values):
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"GTcls": {"Segmentation": values}})
    with pytest.raises(UserError, match=r"a\.mat: cannot be read"):
        read_mask(tmp_path / "a.mat")


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp", "gif"])
def test_flipped_bytes_never_surprise(tmp_path, suffix):
    """Damaged files give pixels or UserError, and no other exception."""
    generator = np.random.default_rng(0)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(generator.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    intact = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        damaged = intact.copy()
        damaged[generator.integers(0, generator.choice([64, len(intact)]), 3)] = generator.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        for read in (lambda: read_image(path, upright=True), lambda: read_mask(path)):
            with suppress(UserError):
                assert read().size
