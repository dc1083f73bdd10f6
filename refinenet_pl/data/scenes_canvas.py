"""The painter's colors, canvas and camera: all of a painted scene but the things that stand in it."""

import colorsys
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from refinenet_pl.data.classes import IGNORE_INDEX

SUPERSAMPLING = 2
"""Scenes are painted this many times larger than the picture, so that its edges mix colors as a lens does."""

# Strength of the (coarse, fine) grain of each train id: leaves are blotchy, grass and asphalt rough, cars polished.
GRAIN = np.array(
    [
        (0.02, 0.00),  # sky
        (0.04, 0.03),  # building
        (0.03, 0.07),  # road
        (0.05, 0.02),  # pavement
        (0.05, 0.16),  # grass
        (0.22, 0.10),  # tree
        (0.01, 0.01),  # car
        (0.03, 0.03),  # person
        (0.01, 0.02),  # pole
        (0.01, 0.01),  # sign
    ],
    dtype=np.float32,
)

NEAR, FAR = 1.5, 60.0
"""Meters: the ground ends at FAR, and what is nearer than NEAR is drawn as if it were there."""

Light = tuple[float, float, float]
"""Red, green and blue, 0..255; brighter is allowed, and cut off when it is painted."""

Point = tuple[float, float, float]
Span = tuple[float, float]


def hsv(hue: float, saturation: float, value: float) -> Light:
    """The color of a hue, a saturation and a value, each 0..1 (the hue wraps)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def shade(color: Light, factor: float) -> Light:
    """The same color in more (factor above 1) or less light."""
    return color[0] * factor, color[1] * factor, color[2] * factor


def gray(rng: Generator) -> Light:
    """Asphalt, slabs, concrete, cloud and steel: one range of grays for all of them, a little warm or cold."""
    return hsv(rng.choice([0.08, 0.6]), rng.uniform(0.0, 0.12), rng.uniform(0.35, 0.8))


def green(rng: Generator) -> Light:
    """Lawns and leaves, from spring to the first yellow; some cars, coats and awnings too."""
    return hsv(rng.uniform(0.17, 0.36), rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.65))


def any_color(rng: Generator) -> Light:
    """Paint and cloth: a third grays, a sixth greens, else any hue."""
    deal = rng.random()
    if deal < 0.33:
        return shade(gray(rng), rng.uniform(0.4, 1.3))
    if deal < 0.5:
        return green(rng)
    return hsv(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.25, 0.95))


def masonry(rng: Generator) -> Light:
    """Walls: concrete, brick, or plaster in pale tints of any hue, sky blue and leaf green among them."""
    deal = rng.random()
    if deal < 0.35:
        return gray(rng)
    if deal < 0.6:
        return hsv(rng.uniform(0.0, 0.09), rng.uniform(0.3, 0.6), rng.uniform(0.35, 0.75))
    return hsv(rng.random(), rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.9))


def clouded_sky(height: int, width: int, horizon: float, rng: Generator) -> tuple[Image.Image, Light]:
    """A picture of nothing but sky, blue or overcast, and its color at the row of the horizon: that of the haze."""
    blue = hsv(rng.uniform(0.54, 0.64), rng.uniform(0.2, 0.6), rng.uniform(0.6, 0.95))
    zenith = np.array(gray(rng) if rng.random() < 0.45 else blue, np.float32)
    haze = zenith + rng.uniform(0.3, 0.8) * (225 - zenith)
    climb = np.clip(1 - np.arange(height, dtype=np.float32) / horizon, 0, 1)[:, None, None]
    clouds = rng.uniform(0, 25) * np.clip(smooth_noise(height, width, 20, rng), 0, None)
    red, green, blue = haze.tolist()
    return Image.fromarray(_as_bytes(haze + climb * (zenith - haze) + clouds[..., None])), (red, green, blue)


def smooth_noise(height: int, width: int, cell: int, rng: Generator) -> np.ndarray:
    """Normal noise that changes over about `cell` pixels, float32 [height, width]."""
    seeds = rng.standard_normal((height // cell + 2, width // cell + 2), np.float32)
    return np.asarray(Image.fromarray(seeds).resize((width, height), Image.Resampling.BICUBIC))


def _borders(labels: np.ndarray) -> np.ndarray:
    """Pixels of the picture around which the canvas, one of its finer pixels to each side, holds two classes."""
    around = np.pad(labels, 1, mode="edge")
    height, width = labels.shape
    shifts = [(row, column) for row in range(3) for column in range(3)]
    near = [around[y : y + height : SUPERSAMPLING, x : x + width : SUPERSAMPLING] for y, x in shifts]
    return np.any([other != near[4] for other in near], axis=0)


def _as_bytes(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture, 0, 255).astype(np.uint8)


class Canvas:
    """A picture and its labels in the making, seen by a pinhole camera; everything is painted into both at once.

    Args:
        size: Height and width of the picture to come.
        rng: Where the camera, the sky and the haze come from.
    """

    def __init__(self, size: tuple[int, int], rng: Generator) -> None:
        height, width = size
        self.focal = SUPERSAMPLING * 0.8 * width
        self.x, self.y = rng.uniform(-1.5, 1.5), rng.uniform(1.6, 2.1)
        column, row = width * rng.uniform(0.35, 0.65), height * rng.uniform(0.4, 0.5)
        self.vanishing = SUPERSAMPLING * column, SUPERSAMPLING * row
        self.visibility = rng.uniform(60, 250)
        sky, self.haze = clouded_sky(height, width, row, rng)
        self.image = sky.resize((SUPERSAMPLING * width, SUPERSAMPLING * height))
        self.labels = Image.new("L", self.image.size, 0)  # the train id of sky
        self._brushes = ImageDraw.Draw(self.image), ImageDraw.Draw(self.labels)

    def polygon(self, points: Sequence[Point], color: Light, label: int) -> None:
        """Fill the polygon of points in space; the farther its first point, the more haze before it."""
        outline = [self._project(point) for point in points]
        self._brushes[0].polygon(outline, self._through_haze(color, points[0][2]))
        self._brushes[1].polygon(outline, label)

    def ball(self, center: Point, radius: float, color: Light, label: int) -> None:
        """Fill the disc that a ball looks like."""
        (x, y), reach = self._project(center), self.focal * radius / center[2]
        box = (x - reach, y - reach, x + reach, y + reach)
        self._brushes[0].ellipse(box, self._through_haze(color, center[2]))
        self._brushes[1].ellipse(box, label)

    def front(self, x: Span, y: Span, z: float, color: Light, label: int) -> None:
        """Fill an upright rectangle that faces the camera."""
        self.polygon([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)], color, label)

    def wall(self, x: float, y: Span, z: Span, color: Light, label: int) -> None:
        """Fill an upright rectangle that runs along the street."""
        self.polygon([(x, y[0], z[0]), (x, y[1], z[0]), (x, y[1], z[1]), (x, y[0], z[1])], color, label)

    def floor(self, x: Span, z: Span, color: Light, label: int, y: float = 0.0) -> None:
        """Fill a level rectangle at height `y`."""
        self.polygon([(x[0], y, z[0]), (x[1], y, z[0]), (x[1], y, z[1]), (x[0], y, z[1])], color, label)

    def ground(self, x: Span, color: Light, label: int) -> None:
        """Fill a band of ground from the camera to FAR, in slices so that the haze thickens with depth."""
        for z in pairwise((FAR, 30.0, 18.0, 11.0, 7.0, NEAR)):
            self.floor(x, z, color, label)

    def meters(self, pixels: float, z: float) -> float:
        """How long something at depth `z` is that takes up `pixels` of the picture."""
        return SUPERSAMPLING * pixels * z / self.focal

    def take_picture(self, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
        """Reduce the canvas to the picture's size; add the grain of surfaces, light and sensor noise; void borders.

        Returns:
            Picture uint8 [H, W, 3], and labels uint8 [H, W] with IGNORE_INDEX wherever two classes meet.
        """
        picture = np.asarray(self.image.reduce(SUPERSAMPLING), dtype=np.float32)
        labels = np.asarray(self.labels)
        train_ids = labels[::SUPERSAMPLING, ::SUPERSAMPLING]
        height, width = train_ids.shape
        coarse, fine = np.moveaxis(GRAIN[train_ids], -1, 0)
        grain = coarse * smooth_noise(height, width, 5, rng) + fine * rng.standard_normal((height, width), np.float32)
        light = rng.uniform(0.7, 1.15) * rng.normal(1, 0.04, 3).astype(np.float32)
        noise = rng.uniform(1, 5) * rng.standard_normal(picture.shape, np.float32)
        picture = picture * (1 + grain[..., None]) * light + noise
        return _as_bytes(picture), np.where(_borders(labels), np.uint8(IGNORE_INDEX), train_ids)

    def _project(self, point: Point) -> tuple[float, float]:
        x, y, z = point
        scale = self.focal / max(z, NEAR)
        return self.vanishing[0] + scale * (x - self.x), self.vanishing[1] - scale * (y - self.y)

    def _through_haze(self, color: Light, z: float) -> tuple[int, int, int]:
        clear = float(np.exp(-z / self.visibility))
        red, green, blue = (int(clear * own + (1 - clear) * far) for own, far in zip(color, self.haze, strict=True))
        return red, green, blue
