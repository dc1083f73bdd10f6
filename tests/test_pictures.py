"""Pictures: values, colors, stripes, contours, legends and sizes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refinenet_pl.data.classes import IGNORE_INDEX, voc_colors
from refinenet_pl.evaluation.legend import Entry, draw_legend
from refinenet_pl.evaluation.panel import WRONG, panel
from refinenet_pl.evaluation.pictures import STRIPE, colorize, contours, hatch, overlay, palette_image, save_picture

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
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    mask = np.repeat(np.array([[0, 1]], np.uint8), 3, axis=1).repeat(6, axis=0)
    mixed = overlay(image, mask, COLORS, opacity)
    assert mixed.dtype == np.uint8
    colors = np.array(COLORS)[mask]
    exact = (1 - opacity) * image.astype(float) + opacity * colors
    inside = [0, 1, 4, 5]
    assert np.abs(mixed - exact)[:, inside].max() <= 0.5
    np.testing.assert_array_equal(mixed[:, 2:4], colors[:, 2:4])  # the contours


def test_contours_are_where_classes_meet():
    mask = np.random.default_rng(0).integers(0, 3, (9, 11))
    expected = np.zeros(mask.shape, bool)
    for row, column in np.ndindex(*mask.shape):
        for down, across in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            if 0 <= row + down < 9 and 0 <= column + across < 11:
                expected[row, column] |= mask[row, column] != mask[row + down, column + across]
    np.testing.assert_array_equal(contours(mask), expected)
    wide = np.zeros((10, 2000), np.uint8)
    wide[:, 1000:] = 1
    assert np.flatnonzero(contours(wide)[0]).tolist() == [*range(997, 1003)]


def test_stripes_cover_ignored_pixels_alone():
    picture = np.zeros((20, 20, 3), np.uint8)
    ignored = np.zeros((20, 20), bool)
    ignored[:, 10:] = True
    striped = hatch(picture, ignored, 6)
    assert (striped[:, :10] == 0).all()
    assert 0.2 < (striped[:, 10:] == STRIPE).mean() < 0.5
    assert all((line == STRIPE).any() and (line == 0).any() for line in striped[:, 10:])


@pytest.mark.parametrize("size", [(48, 32), (3, 400), (120, 300), (500, 375), (2048, 1024)])
def test_panel_fits_a_slide(size: tuple[int, int]):
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    shown = panel(np.zeros((height, width, 3), np.uint8), mask, mask, ["ground"], COLORS[:1])
    assert shown.width >= 900
    assert shown.width < 3000
    assert shown.height < 3000


def test_panel_shows_image_target_prediction_and_errors():
    image = np.full((120, 160, 3), (60, 90, 20), np.uint8)
    target, prediction = np.zeros((120, 160), np.uint8), np.zeros((120, 160), np.uint8)
    target[:40] = IGNORE_INDEX
    prediction[:, 120:] = 1
    shown = np.asarray(panel(image, target, prediction, ["ground", "wall", "roof"], COLORS))
    colors = np.unique(shown.reshape(-1, 3), axis=0, return_counts=True)
    area = {tuple(color): count / 9 for color, count in zip(colors[0].tolist(), colors[1], strict=True)}
    swatch = 1500 / 9  # in pixels of the image, which are shown as 3 x 3 pixels
    assert area[(60, 90, 20)] == 120 * 160
    assert 0 <= area[COLORS[0]] - (80 * 160 + 120 * 120) < swatch
    assert 0 <= area[COLORS[1]] - 120 * 40 < swatch
    assert COLORS[2] not in area, "a class that is in neither"
    assert area[WRONG] == 80 * 40, "ignored pixels are no errors"
    assert 0 <= area[(214, 214, 214)] - 80 * 120 < swatch, "right pixels are faint"
    assert area[STRIPE] > 2 * 40 * 160 * 0.2, "the ignored part of target and errors has stripes"


def test_legend_fits_its_place():
    entries = [Entry(f"class {index}" * (1 + index % 5), (index, 0, 0)) for index in range(40)]
    wide, high = draw_legend(entries, 20, width=900), draw_legend(entries, 20, height=300)
    assert wide.width <= 900
    assert high.height <= 300
    for legend in (wide, high):
        shown = {tuple(color) for color in np.asarray(legend).reshape(-1, 3).tolist()}
        assert {(index, 0, 0) for index in range(1, 40)} <= shown


def test_saving_replaces_the_file(tmp_path: Path):
    path = tmp_path / "some" / "where" / "picture.v1.png"  # the name has two dots
    save_picture(path, np.zeros((2, 2, 3), np.uint8))
    save_picture(path, RGB)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), RGB)
