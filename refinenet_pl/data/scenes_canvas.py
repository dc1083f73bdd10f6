"""Colors, canvas and camera of painted scenes. The objects in them are in scenes_painter.py."""

import colorsys
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from refinenet_pl.data.classes import IGNORE_INDEX

SUPERSAMPLING = 2
"""Scenes are painted this many times larger than the image, so that colors mix at edges, as in a photo."""

# Strength of the (coarse, fine) grain of each class: leaves are blotchy, grass and asphalt rough, cars smooth.
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
"""Depths in meters: the ground ends at FAR; points nearer than NEAR are drawn at NEAR."""

Light = tuple[float, float, float]
"""Red, green and blue, 0..255. Brighter values are allowed; painting clips them."""

Point = tuple[float, float, float]
"""x to the right, y up, and z away from the camera, in meters."""

Extent = tuple[float, float]
"""Start and end along one axis, in meters."""


def hsv(hue: float, saturation: float, value: float) -> Light:
    """Return the color of a hue, a saturation and a value, each 0..1. The hue wraps around."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def shade(color: Light, factor: float) -> Light:
    """Return the color in more light (factor above 1) or less."""
    return color[0] * factor, color[1] * factor, color[2] * factor


def gray(rng: Generator) -> Light:
    """Draw a gray, slightly warm or cold. Asphalt, slabs, concrete, clouds and steel share the same range."""
    return hsv(rng.choice([0.08, 0.6]), rng.uniform(0.0, 0.12), rng.uniform(0.35, 0.8))


def green(rng: Generator) -> Light:
    """Draw a green, from fresh to yellowish: for lawns and leaves, and for some cars, coats and awnings."""
    return hsv(rng.uniform(0.17, 0.36), rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.65))


def any_color(rng: Generator) -> Light:
    """Draw a color for paint and cloth: a third are grays, a sixth greens, the rest any hue."""
    kind = rng.random()
    if kind < 0.33:
        return shade(gray(rng), rng.uniform(0.4, 1.3))
    if kind < 0.5:
        return green(rng)
    return hsv(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.25, 0.95))


def masonry(rng: Generator) -> Light:
    """Draw a color for walls: concrete, brick, or plaster in pale tints of any hue, also sky blue and leaf green."""
    kind = rng.random()
    if kind < 0.35:
        return gray(rng)
    if kind < 0.6:
        return hsv(rng.uniform(0.0, 0.09), rng.uniform(0.3, 0.6), rng.uniform(0.35, 0.75))
    return hsv(rng.random(), rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.9))


def clouded_sky(height: int, width: int, horizon: float, rng: Generator) -> tuple[Image.Image, Light]:
    """Paint a sky, blue or overcast. Return its image and its color at the horizon, which is the color of the haze."""
    blue = hsv(rng.uniform(0.54, 0.64), rng.uniform(0.2, 0.6), rng.uniform(0.6, 0.95))
    zenith = np.array(gray(rng) if rng.random() < 0.45 else blue, np.float32)
    haze = zenith + rng.uniform(0.3, 0.8) * (225 - zenith)
    elevation = np.clip(1 - np.arange(height, dtype=np.float32) / horizon, 0, 1)[:, None, None]
    clouds = rng.uniform(0, 25) * np.clip(smooth_noise(height, width, 20, rng), 0, None)
    red, green, blue = haze.tolist()
    return Image.fromarray(_as_bytes(haze + elevation * (zenith - haze) + clouds[..., None])), (red, green, blue)


def smooth_noise(height: int, width: int, cell: int, rng: Generator) -> np.ndarray:
    """Draw normal noise that varies over about `cell` pixels, float32 [height, width]."""
    seeds = rng.standard_normal((height // cell + 2, width // cell + 2), np.float32)
    return np.asarray(Image.fromarray(seeds).resize((width, height), Image.Resampling.BICUBIC))


def _borders(labels: np.ndarray) -> np.ndarray:
    """Find the image pixels at class borders: the canvas has two classes within one canvas pixel around them."""
    around = np.pad(labels, 1, mode="edge")
    height, width = labels.shape
    shifts = [(row, column) for row in range(3) for column in range(3)]
    near = [around[y : y + height : SUPERSAMPLING, x : x + width : SUPERSAMPLING] for y, x in shifts]
    return np.any([other != near[4] for other in near], axis=0)


def _as_bytes(image: np.ndarray) -> np.ndarray:
    return np.clip(image, 0, 255).astype(np.uint8)


class Canvas:
    """An image and its mask in progress, seen through a pinhole camera. Every shape is painted into both at once.

    Args:
        size: Height and width of the final image, in pixels.
        rng: Draws the camera, the sky and the haze.
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
        self.labels = Image.new("L", self.image.size, 0)  # the class index of sky
        self._brushes = ImageDraw.Draw(self.image), ImageDraw.Draw(self.labels)

    def polygon(self, points: Sequence[Point], color: Light, label: int) -> None:
        """Fill a polygon of points in space. The depth of its first point decides how much haze covers it."""
        outline = [self._project(point) for point in points]
        self._brushes[0].polygon(outline, self._through_haze(color, points[0][2]))
        self._brushes[1].polygon(outline, label)

    def ball(self, center: Point, radius: float, color: Light, label: int) -> None:
        """Fill the disc that shows a ball."""
        (x, y), reach = self._project(center), self.focal * radius / center[2]
        box = (x - reach, y - reach, x + reach, y + reach)
        self._brushes[0].ellipse(box, self._through_haze(color, center[2]))
        self._brushes[1].ellipse(box, label)

    def front(self, x: Extent, y: Extent, z: float, color: Light, label: int) -> None:
        """Fill an upright rectangle that faces the camera."""
        self.polygon([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)], color, label)

    def wall(self, x: float, y: Extent, z: Extent, color: Light, label: int) -> None:
        """Fill an upright rectangle that runs along the street."""
        self.polygon([(x, y[0], z[0]), (x, y[1], z[0]), (x, y[1], z[1]), (x, y[0], z[1])], color, label)

    def floor(self, x: Extent, z: Extent, color: Light, label: int, y: float = 0.0) -> None:
        """Fill a horizontal rectangle at height `y`."""
        self.polygon([(x[0], y, z[0]), (x[1], y, z[0]), (x[1], y, z[1]), (x[0], y, z[1])], color, label)

    def ground(self, x: Extent, color: Light, label: int) -> None:
        """Fill a strip of ground from the camera to FAR, in slices, so that haze increases with depth."""
        for z in pairwise((FAR, 30.0, 18.0, 11.0, 7.0, NEAR)):
            self.floor(x, z, color, label)

    def meters(self, pixels: float, z: float) -> float:
        """Return the length in meters, at depth `z`, that covers `pixels` of the final image."""
        return SUPERSAMPLING * pixels * z / self.focal

    def render(self, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
        """Reduce the canvas to the final size; add surface grain, light and sensor noise; ignore class borders.

        Returns:
            The image, uint8 [H, W, 3], and the mask, uint8 [H, W], with IGNORE_INDEX where two classes meet.
        """
        image = np.asarray(self.image.reduce(SUPERSAMPLING), dtype=np.float32)
        labels = np.asarray(self.labels)
        mask = labels[::SUPERSAMPLING, ::SUPERSAMPLING]
        height, width = mask.shape
        coarse, fine = np.moveaxis(GRAIN[mask], -1, 0)
        grain = coarse * smooth_noise(height, width, 5, rng) + fine * rng.standard_normal((height, width), np.float32)
        light = rng.uniform(0.7, 1.15) * rng.normal(1, 0.04, 3).astype(np.float32)
        noise = rng.uniform(1, 5) * rng.standard_normal(image.shape, np.float32)
        image = image * (1 + grain[..., None]) * light + noise
        return _as_bytes(image), np.where(_borders(labels), np.uint8(IGNORE_INDEX), mask)

    def _project(self, point: Point) -> tuple[float, float]:
        x, y, z = point
        scale = self.focal / max(z, NEAR)
        return self.vanishing[0] + scale * (x - self.x), self.vanishing[1] - scale * (y - self.y)

    def _through_haze(self, color: Light, z: float) -> tuple[int, int, int]:
        clear = float(np.exp(-z / self.visibility))
        red, green, blue = (int(clear * near + (1 - clear) * far) for near, far in zip(color, self.haze, strict=True))
        return red, green, blue
