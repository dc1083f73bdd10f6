"""Pictures of masks, read back: values, colors and sizes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refinenet_pl.data.classes import IGNORE_INDEX, voc_colors
from refinenet_pl.evaluation.pictures import colorize, overlay, palette_image, panel, save_picture

COLORS = [(10, 20, 30), (200, 100, 0), (0, 0, 255)]
LABELS = np.array([[0, 1, 2], [2, IGNORE_INDEX, 0]], dtype=np.uint8)
RGB = np.array(
    [[(10, 20, 30), (200, 100, 0), (0, 0, 255)], [(0, 0, 255), (255, 255, 255), (10, 20, 30)]], dtype=np.uint8
)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_a_palette_file_holds_the_labels_themselves_and_shows_the_classes_colors(tmp_path: Path, dtype: type):
    save_picture(tmp_path / "mask.png", palette_image(LABELS.astype(dtype), COLORS))
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), LABELS)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), RGB)


def test_a_palette_has_room_for_255_classes_beside_void(tmp_path: Path):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    save_picture(tmp_path / "mask.png", palette_image(labels, voc_colors(255)))
    with Image.open(tmp_path / "mask.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), labels)
        colors = np.asarray(picture.convert("RGB")).reshape(256, 3)
    np.testing.assert_array_equal(colors, [*voc_colors(255), (255, 255, 255)])


def test_colorize_gives_each_label_its_color_and_void_white():
    np.testing.assert_array_equal(colorize(LABELS, COLORS), RGB)


@pytest.mark.parametrize("opacity", [0.0, 0.25, 0.5, 1.0])
def test_an_overlay_mixes_image_and_colors_by_opacity(opacity: float):
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    mixed = overlay(image, LABELS, COLORS, opacity)
    assert mixed.dtype == np.uint8
    exact = (1 - opacity) * image.astype(float) + opacity * RGB.astype(float)
    assert np.abs(mixed - exact).max() <= 0.5


def test_a_panel_stands_image_truth_and_prediction_side_by_side():
    image = np.full((2, 3, 3), 77, np.uint8)
    predicted = np.zeros_like(LABELS)
    shown = panel(image, LABELS, predicted, COLORS)
    assert shown.shape == (2, 3 * 3 + 16, 3)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[:, :3], image)
    np.testing.assert_array_equal(shown[:, 11:14], RGB)
    np.testing.assert_array_equal(shown[:, 22:], np.broadcast_to(COLORS[0], (2, 3, 3)))
    assert (shown[:, 3:11] == 255).all()
    assert (shown[:, 14:22] == 255).all()


def test_saving_makes_the_folder_replaces_the_old_file_and_leaves_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "some" / "where" / "picture.v1.png"  # a name with a dot of its own
    save_picture(path, np.zeros((2, 2, 3), np.uint8))
    save_picture(path, RGB)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), RGB)
