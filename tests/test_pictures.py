"""Masks in color, read back from files: values, colors and sizes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refinenet_pl.data.classes import IGNORE_INDEX, voc_colors
from refinenet_pl.evaluation.pictures import colorize, overlay, palette_image, panel, save_picture

COLORS = [(10, 20, 30), (200, 100, 0), (0, 0, 255)]
MASK = np.array([[0, 1, 2], [2, IGNORE_INDEX, 0]], dtype=np.uint8)
RGB = np.array(
    [[(10, 20, 30), (200, 100, 0), (0, 0, 255)], [(0, 0, 255), (255, 255, 255), (10, 20, 30)]], dtype=np.uint8
)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_palette_file_holds_class_indices(tmp_path: Path, dtype: type):
    save_picture(tmp_path / "mask.png", palette_image(MASK.astype(dtype), COLORS))
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), MASK)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), RGB)


def test_palette_holds_255_classes(tmp_path: Path):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    save_picture(tmp_path / "mask.png", palette_image(mask, voc_colors(255)))
    with Image.open(tmp_path / "mask.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), mask)
        colors = np.asarray(picture.convert("RGB")).reshape(256, 3)
    np.testing.assert_array_equal(colors, [*voc_colors(255), (255, 255, 255)])


def test_ignored_pixels_are_white():
    np.testing.assert_array_equal(colorize(MASK, COLORS), RGB)


@pytest.mark.parametrize("opacity", [0.0, 0.25, 0.5, 1.0])
def test_overlay_blends_by_opacity(opacity: float):
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    mixed = overlay(image, MASK, COLORS, opacity)
    assert mixed.dtype == np.uint8
    exact = (1 - opacity) * image.astype(float) + opacity * RGB.astype(float)
    assert np.abs(mixed - exact).max() <= 0.5


def test_panel_shows_image_target_prediction():
    image = np.full((2, 3, 3), 77, np.uint8)
    prediction = np.zeros_like(MASK)
    shown = panel(image, MASK, prediction, COLORS)
    assert shown.shape == (2, 3 * 3 + 16, 3)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[:, :3], image)
    np.testing.assert_array_equal(shown[:, 11:14], RGB)
    np.testing.assert_array_equal(shown[:, 22:], np.broadcast_to(COLORS[0], (2, 3, 3)))
    assert (shown[:, 3:11] == 255).all()
    assert (shown[:, 14:22] == 255).all()


def test_saving_replaces_the_file(tmp_path: Path):
    path = tmp_path / "some" / "where" / "picture.v1.png"  # the name has two dots
    save_picture(path, np.zeros((2, 2, 3), np.uint8))
    save_picture(path, RGB)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), RGB)
