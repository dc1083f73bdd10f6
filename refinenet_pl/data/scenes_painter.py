"""Paints street scenes from a seed: the images and masks of the Scenes dataset.

Objects have a place in meters: x to the right, y up, z away from the camera. A pinhole camera projects them onto the
canvas, and nearer objects cover farther ones. Color says little about the class: cars, coats and walls come in every
color, and classes share grays and greens. A network must learn shape, texture and place.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from refinenet_pl.data.classes import Classes, Color
from refinenet_pl.data.scenes_canvas import FAR, NEAR, Canvas, Light, any_color, gray, green, hsv, masonry, shade

_LEGEND: dict[str, Color] = {
    "sky": (70, 130, 180),
    "building": (110, 70, 70),
    "road": (128, 64, 128),
    "pavement": (244, 35, 232),
    "grass": (152, 251, 152),
    "tree": (35, 110, 35),
    "car": (0, 0, 142),
    "person": (220, 20, 60),
    "pole": (190, 190, 190),
    "sign": (250, 220, 0),
}
SCENES = Classes(names=tuple(_LEGEND), colors=tuple(_LEGEND.values()))
SKY, BUILDING, ROAD, PAVEMENT, GRASS, TREE, CAR, PERSON, POLE, SIGN = range(len(SCENES))

PLATES: list[tuple[Light, Light]] = [
    ((240, 240, 240), (200, 30, 30)),
    ((200, 30, 30), (240, 240, 240)),
    ((30, 70, 180), (240, 240, 240)),
    ((240, 200, 20), (30, 30, 30)),
    ((20, 120, 70), (240, 240, 240)),
    ((235, 235, 235), (60, 60, 60)),
]
"""Colors of the rim and the middle of traffic signs. Shops use the same colors, so that color alone misleads."""

PlacedObject = tuple[float, float, Callable[[Canvas, float, float, Generator], None]]
"""Depth z and place x of an object, and the function that paints it there."""


def paint_scene(seed: int, index: int, size: tuple[int, int] = (96, 160)) -> tuple[np.ndarray, np.ndarray]:
    """Paint one scene. It depends only on the arguments, not on what was painted before.

    Args:
        seed: Seed of the dataset, 0 or more.
        index: Index of the scene in the dataset, 0 or more.
        size: Height and width in pixels.

    Returns:
        The image, uint8 [H, W, 3], and the mask, uint8 [H, W]: class indices of SCENES, and IGNORE_INDEX at the borders
        between classes.
    """
    rng = np.random.default_rng([seed, index])
    canvas = Canvas(size, rng)
    half_road = rng.uniform(2.6, 3.6)
    skyline(canvas, rng)
    road(canvas, half_road, rng)
    objects = traffic(half_road, rng)
    for side in (-1, 1):
        objects += roadside(canvas, side, half_road, rng)
    for z, x, paint in sorted(objects, key=lambda placed: -placed[0]):
        paint(canvas, x, z, rng)
    return canvas.render(rng)


def skyline(canvas: Canvas, rng: Generator) -> None:
    """Paint the background at the end of the street: blocks of houses or the edge of a wood."""
    wood = rng.random() < 0.5
    for x in range(-70, 70, 7):
        z = FAR + rng.uniform(0, 10)
        if wood:
            canvas.ball((x, 1, z), rng.uniform(4, 7), green(rng), TREE)
        elif rng.random() < 0.8:
            canvas.front((x, x + rng.uniform(5, 9)), (0, rng.uniform(4, 14)), z, masonry(rng), BUILDING)


def road(canvas: Canvas, half_width: float, rng: Generator) -> None:
    """Paint the road and its markings: dashes in the middle, sometimes edge lines and a crossing."""
    canvas.ground((-half_width, half_width), gray(rng), ROAD)
    paint = shade(gray(rng), 1.5)
    for z in np.arange(rng.uniform(2, 5), 40, 4.0):
        canvas.floor((-0.1, 0.1), (z, z + 2), paint, ROAD)
    if rng.random() < 0.5:
        for x in (-half_width + 0.3, half_width - 0.45):
            canvas.floor((x, x + 0.15), (NEAR, FAR), paint, ROAD)
    if rng.random() < 0.3:
        z = rng.uniform(6, 12)
        for x in np.arange(-half_width + 0.3, half_width - 0.5, 1.0):
            canvas.floor((x, x + 0.5), (z, z + 2.5), paint, ROAD)


def traffic(half_road: float, rng: Generator) -> list[PlacedObject]:
    """Place cars on both sides of the road, parked or driving, and sometimes a person who crosses it."""
    objects: list[PlacedObject] = []
    for side in (-1, 1):
        x = side * (half_road - 1.05 if rng.random() < 0.6 else half_road / 2)
        z = rng.uniform(6, 12)
        while z < 40:
            objects.append((z, x, car))
            z += rng.uniform(5.5, 14)
    if rng.random() < 0.5:
        objects.append((rng.uniform(5, 11), rng.uniform(-half_road, half_road), person))
    return objects


def roadside(canvas: Canvas, side: int, curb: float, rng: Generator) -> list[PlacedObject]:
    """Paint ground and houses on one side of the street (-1 left, 1 right). Return the objects in front of them."""
    verge = rng.uniform(1.5, 2.5) if rng.random() < 0.4 else 0.0
    path = curb + verge, curb + verge + rng.uniform(2.0, 3.5)
    park = rng.random() < 0.25
    lawn = 12.0 if park else rng.uniform(1.5, 4.0) if rng.random() < 0.5 else 0.0
    canvas.ground((side * curb, side * 90), green(rng), GRASS)
    pavement(canvas, side * path[0], side * path[1], rng)
    if not park:
        houses(canvas, side, path[1] + lawn, rng)
    objects: list[PlacedObject] = [
        (rng.uniform(5, 12), side * rng.uniform(*path), person) for _ in range(rng.integers(2, 5))
    ]
    if lawn:
        depths = np.arange(rng.uniform(5, 9), 45, rng.uniform(5, 9))
        objects += [(z, side * (path[1] + rng.uniform(1, lawn)), tree) for z in depths]
    z = rng.uniform(5, 8)
    while z < 18:
        objects.append((z, side * (curb + 0.4), sign if rng.random() < 0.6 else lamp))
        z += rng.uniform(4, 7)
    return objects


def pavement(canvas: Canvas, inner: float, outer: float, rng: Generator) -> None:
    """Paint a pavement of slabs with dark joints and a light curb."""
    color = gray(rng)
    canvas.ground((inner, outer), color, PAVEMENT)
    for z in np.arange(3.0, 25, rng.uniform(1.0, 1.8)):
        canvas.floor((inner, outer), (z, z + 0.12), shade(color, 0.75), PAVEMENT)
    canvas.ground((inner, inner + np.sign(inner) * 0.2), shade(color, 1.25), PAVEMENT)


def houses(canvas: Canvas, side: int, distance: float, rng: Generator) -> None:
    """Paint a row of houses along the street, with gaps, from far to near."""
    end: float = FAR
    while end > 6:
        start = max(end - rng.uniform(6, 14), NEAR)
        house(canvas, side * distance, (start, end), rng)
        end = start - (rng.uniform(2, 6) if rng.random() < 0.35 else 0.0)


def house(canvas: Canvas, x: float, z: tuple[float, float], rng: Generator) -> None:
    """Paint a house: a front that faces the camera, a wall along the street, bricks, windows, sometimes a shop."""
    color, top = masonry(rng), rng.uniform(3.5, 11)
    canvas.front((x, x + np.sign(x) * 14), (0, top), z[0], shade(color, rng.uniform(0.6, 0.85)), BUILDING)
    canvas.wall(x, (0, top), z, color, BUILDING)
    if rng.random() < 0.5 and z[0] < 25:
        for y in np.arange(0.4, top, 0.6):
            canvas.wall(x, (y, y + 0.07), z, shade(color, 0.8), BUILDING)
    canvas.wall(x, (top - 0.3, top), z, shade(color, 0.65), BUILDING)
    glass = shade(canvas.haze, rng.uniform(0.25, 1.0))
    for y in np.arange(0.9, top - 1.5, 2.8):
        for bay in np.arange(z[0] + 0.7, z[1] - 1.5, 2.6):
            canvas.wall(x, (y, y + 1.5), (bay, bay + 1.4), glass, BUILDING)
    if rng.random() < 0.5:
        shop(canvas, x, z[0], rng)


def shop(canvas: Canvas, x: float, z: float, rng: Generator) -> None:
    """Paint a shop: a dark window, an awning, and a board in the colors of traffic signs."""
    end, street_side = z + rng.uniform(3, 5), x - np.sign(x) * 0.9
    rim, middle = PLATES[rng.integers(len(PLATES))]
    canvas.wall(x, (0.2, 2.4), (z, end), shade(any_color(rng), 0.5), BUILDING)
    canvas.polygon(
        [(x, 2.9, z), (x, 2.9, end), (street_side, 2.3, end), (street_side, 2.3, z)], any_color(rng), BUILDING
    )
    canvas.wall(x, (3.1, 4.1), (z + 0.3, end - 0.3), rim, BUILDING)
    canvas.wall(x, (3.4, 3.8), (z + 0.8, end - 0.8), middle, BUILDING)


def tree(canvas: Canvas, x: float, z: float, rng: Generator) -> None:
    """Paint a tree: a trunk that looks like a pole, and a crown of balls that is lighter at the top."""
    leaves, radius = green(rng), rng.uniform(1.0, 1.7)
    middle = radius + rng.uniform(1.2, 2.2)
    canvas.front((x - 0.15, x + 0.15), (0, middle), z, shade(gray(rng), 0.7), TREE)
    for dx, dy in rng.uniform(-0.7, 0.7, (7, 2)):
        canvas.ball((x + dx * radius, middle + dy * radius, z), 0.7 * radius, shade(leaves, 1 + 0.25 * dy), TREE)


def pole(canvas: Canvas, x: float, top: float, z: float, color: Light) -> None:
    """Paint a post at least four pixels wide, which is one cell of a feature map at stride 4."""
    half = max(0.1, canvas.meters(2, z))
    canvas.front((x - half, x + half), (0, top), z, color, POLE)
    canvas.front((x, x + half), (0, top), z, shade(color, 0.75), POLE)


def lamp(canvas: Canvas, x: float, z: float, rng: Generator) -> None:
    """Paint a street lamp: a post with an arm over the road."""
    color, top = shade(gray(rng), rng.uniform(0.5, 1.1)), rng.uniform(4, 6)
    pole(canvas, x, top, z, color)
    canvas.front((x, x - np.sign(x) * 1.5), (top - canvas.meters(3, z), top), z, color, POLE)


def sign(canvas: Canvas, x: float, z: float, rng: Generator) -> None:
    """Paint a traffic sign: a triangle, a square or a disc on a post."""
    y, radius = rng.uniform(2.2, 3.0), max(rng.uniform(0.45, 0.65), canvas.meters(5, z))
    corners, start = [(3, 90), (4, 45), (24, 0)][rng.integers(3)]
    turn = np.radians(start + 360 * np.arange(corners) / corners)
    pole(canvas, x, y, z, shade(gray(rng), rng.uniform(0.5, 1.1)))
    for reach, color in zip((radius, 0.55 * radius), PLATES[rng.integers(len(PLATES))], strict=True):
        canvas.polygon([(x + reach * np.cos(t), y + reach * np.sin(t), z) for t in turn], color, SIGN)


def person(canvas: Canvas, x: float, z: float, rng: Generator) -> None:
    """Paint a person: legs, coat with sleeves, hair and face."""
    height, stride = rng.uniform(1.6, 1.9), rng.uniform(0.03, 0.15)
    coat, trousers = any_color(rng), shade(any_color(rng), 0.7)
    skin = hsv(0.07, rng.uniform(0.3, 0.6), rng.uniform(0.35, 0.95))
    hip, neck = 0.48 * height, 0.84 * height
    for foot in (x - stride, x + stride):
        leg = [(x - 0.14, hip, z), (foot - 0.11, 0, z), (foot + 0.11, 0, z), (x + 0.14, hip, z)]
        canvas.polygon(leg, trousers, PERSON)
    canvas.front((x - 0.32, x + 0.32), (hip, neck - 0.08), z, shade(coat, 0.8), PERSON)
    canvas.front((x - 0.2, x + 0.2), (hip - 0.08, neck), z, coat, PERSON)
    canvas.ball((x, 0.93 * height, z), 0.16, shade(skin, rng.uniform(0.2, 0.8)), PERSON)
    canvas.ball((x, 0.90 * height, z), 0.13, skin, PERSON)


def car(canvas: Canvas, x: float, z: float, rng: Generator) -> None:
    """Paint a car from behind or from the front: shadow, far parts, cabin, wheels, body and lights."""
    color, lights = any_color(rng), [(200, 30, 30), (250, 245, 200)][rng.integers(2)]
    half, roof, end = rng.uniform(0.8, 0.95), rng.uniform(1.4, 1.8), z + rng.uniform(3.4, 4.2)
    flank = x - half if x > canvas.x else x + half
    canvas.floor((x - half - 0.1, x + half + 0.1), (z - 0.3, end), (35, 35, 38), ROAD)
    canvas.wall(flank, (0.3, 0.95), (z, end), shade(color, 0.7), CAR)
    canvas.floor((x - half, x + half), (z, end), shade(color, 1.1), CAR, y=0.95)
    canvas.polygon(
        [(flank, 0.95, z + 0.3), (flank, 0.95, end - 0.8), (x, roof, end - 1.4), (x, roof, z + 0.7)],
        shade(color, 0.6),
        CAR,
    )
    for scale, paint in ((1.0, color), (0.8, shade(canvas.haze, rng.uniform(0.2, 0.7)))):
        low, high, top = scale * (half - 0.05), scale * (half - 0.22), 0.95 + scale * (roof - 0.95)
        canvas.polygon([(x - low, 0.95, z), (x - high, top, z), (x + high, top, z), (x + low, 0.95, z)], paint, CAR)
    for wheel in (x - half + 0.18, x + half - 0.18):
        canvas.front((wheel - 0.14, wheel + 0.14), (0, 0.4), z, (25, 25, 25), CAR)
    canvas.front((x - half, x + half), (0.25, 0.95), z, color, CAR)
    canvas.front((x - half, x + half), (0.25, 0.4), z, shade(color, 0.5), CAR)
    for light in (x - half + 0.2, x + half - 0.2):
        canvas.front((light - 0.14, light + 0.14), (0.6, 0.8), z, lights, CAR)
