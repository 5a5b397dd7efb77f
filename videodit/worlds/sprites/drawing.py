"""How sprites look: colours, outlines and backgrounds, drawn by numpy with smooth edges.

Lengths are in pixels in this file. An outline is a signed distance: it maps an offset (y, x) from
the centre of a shape of radius r to the distance from the shape's edge, negative inside. Shapes of
different kinds and equal radius look about equally large.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

COLORS = {
    "red": (215, 25, 30),
    "orange": (250, 130, 10),
    "yellow": (250, 220, 40),
    "green": (30, 150, 50),
    "cyan": (30, 205, 220),
    "blue": (35, 65, 225),
    "purple": (135, 35, 180),
    "pink": (255, 110, 195),
}
BACKGROUNDS = {
    "white": (245, 245, 245),
    "black": (12, 12, 12),
    "gray": (125, 125, 125),
    "beige": (225, 205, 165),
    "navy": (15, 20, 75),
    "mint": (180, 235, 195),
    "maroon": (85, 15, 30),
}
POSITION_STEP = 1 / 64  # pixels: positions are rounded, so that frames are equal on all machines
STAR = [(math.cos(math.radians(a)), math.sin(math.radians(a))) for a in range(-90, 270, 72)]


def _circle(y: np.ndarray, x: np.ndarray, r: float) -> np.ndarray:
    return np.sqrt(y * y + x * x) - r


def _square(y: np.ndarray, x: np.ndarray, r: float) -> np.ndarray:
    return np.maximum(abs(y), abs(x)) - 0.9 * r


def _diamond(y: np.ndarray, x: np.ndarray, r: float) -> np.ndarray:
    return (abs(y) + abs(x) - 1.25 * r) / math.sqrt(2)


def _triangle(y: np.ndarray, x: np.ndarray, r: float) -> np.ndarray:
    """Its corners are 1.4 r from the centre; one of them is above."""
    return np.maximum(y, abs(x) * math.sqrt(0.75) - y / 2) - 0.7 * r


def _star(y: np.ndarray, x: np.ndarray, r: float) -> np.ndarray:
    """A pentagram: all points that are beyond at most one of its five lines.

    Its tips are 1.45 r from the centre.
    """
    lines = np.stack([c * x + s * y for c, s in STAR])
    return np.partition(lines, 3, axis=0)[3] - 1.45 * r * math.cos(math.radians(72))


def _ring(y: np.ndarray, x: np.ndarray, r: float) -> np.ndarray:
    return abs(np.sqrt(y * y + x * x) - 0.85 * r) - 0.3 * r


def _cross(y: np.ndarray, x: np.ndarray, r: float) -> np.ndarray:
    y, x = abs(y), abs(x)
    return np.maximum(np.maximum(y, x) - 1.15 * r, np.minimum(y, x) - 0.38 * r)


Outline = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
OUTLINES: dict[str, Outline] = {
    "circle": _circle,
    "square": _square,
    "diamond": _diamond,
    "triangle": _triangle,
    "star": _star,
    "ring": _ring,
    "cross": _cross,
}


class Background(NamedTuple):
    """One colour, or two with a border between them."""

    colors: tuple[str, ...]
    border: float = 0.5  # its place: a part of the height ("across") or of the width ("down")
    way: str = "across"  # the first colour is above; "down": it is on the left


class Drawn(NamedTuple):
    """A shape to draw."""

    kind: str
    color: str
    radius: float
    centres: np.ndarray  # T 2: x, y


class Stroke(NamedTuple):
    """A straight stroke of a round brush, to draw from its start to where the brush is."""

    color: str
    half_width: float
    start: tuple[float, float]  # x, y
    tips: np.ndarray  # T 2: x, y of the brush; NaN before it begins


@functools.cache
def extent(kind: str) -> tuple[float, float, float, float]:
    """How far a shape of radius 1 reaches to the left, to the right, up and down."""
    span = np.linspace(-1.5, 1.5, 601)
    rows, columns = np.nonzero(OUTLINES[kind](span[:, None], span[None, :], 1.0) <= 0)
    sides = -span[columns.min()], span[columns.max()], -span[rows.min()], span[rows.max()]
    left, right, up, down = (round(float(side), 2) for side in sides)
    return left, right, up, down


def coverage(kind: str, radius: float, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The part of each pixel, 0 to 1, that a shape covers. `y`, `x`: offsets from its centre."""
    return np.clip(0.5 - OUTLINES[kind](y, x, radius), 0, 1)


def render(
    width: int, height: int, background: Background, strokes: list[Stroke], sprites: list[Drawn]
) -> np.ndarray:
    """uint8 T H W 3, RGB. Sprites are in front of strokes, later ones in front of earlier ones."""
    video = np.empty((len(sprites[0].centres), height, width, 3), np.uint8)
    _fill(video, background)
    for stroke in strokes:
        _paint(video, stroke)
    for sprite in sprites:
        _draw(video, sprite)
    return video


def _fill(video: np.ndarray, background: Background) -> None:
    height, width = video.shape[1:3]
    video[:] = BACKGROUNDS[background.colors[0]]
    if len(background.colors) == 2:
        size = height if background.way == "across" else width
        second = slice(round(background.border * size), None)
        where = (second, slice(None)) if background.way == "across" else (slice(None), second)
        video[:, *where] = BACKGROUNDS[background.colors[1]]


def _draw(video: np.ndarray, sprite: Drawn) -> None:
    """Draws a sprite into all frames; only pixels in the box around it are computed."""
    reach = max(extent(sprite.kind)) * sprite.radius + 1
    centres = np.round(sprite.centres / POSITION_STEP) * POSITION_STEP
    corners = np.floor(centres - reach).astype(int)
    offsets = corners - centres
    if (centres == centres[0]).all():
        offsets = offsets[:1]
    pixels = np.arange(math.ceil(2 * reach) + 1) + 0.5
    x, y = offsets[:, :1] + pixels, offsets[:, 1:] + pixels
    covers = coverage(sprite.kind, sprite.radius, y[:, :, None], x[:, None, :])
    covers = np.broadcast_to(covers, (len(video), *covers.shape[1:]))
    for frame, cover, (left, top) in zip(video, covers, corners.tolist()):
        _blend(frame, cover, left, top, COLORS[sprite.color])


def _paint(video: np.ndarray, stroke: Stroke) -> None:
    """Draws into each frame the part of a stroke that is painted by then."""
    start, reach = np.array(stroke.start), stroke.half_width + 1
    for frame, tip in zip(video, stroke.tips):
        if np.isnan(tip[0]):
            continue
        low = np.floor(np.minimum(start, tip) - reach).astype(int)
        high = np.ceil(np.maximum(start, tip) + reach).astype(int)
        x, y = (np.arange(a, b) + 0.5 for a, b in zip(low, high))
        # The stroke is horizontal or vertical, so x and y of its nearest point do not depend on
        # each other.
        dx = x - np.clip(x, *sorted((start[0], tip[0])))
        dy = y - np.clip(y, *sorted((start[1], tip[1])))
        cover = coverage("circle", stroke.half_width, dy[:, None], dx[None, :])
        _blend(frame, cover, int(low[0]), int(low[1]), COLORS[stroke.color])


def _blend(
    frame: np.ndarray, cover: np.ndarray, left: int, top: int, color: tuple[int, int, int]
) -> None:
    """Mixes a colour into a frame (uint8 H W 3) by the weights `cover` (h w), 0 to 1.

    `left`, `top`: the pixel of the frame under the first weight. Weights outside are ignored.
    """
    height, width = frame.shape[:2]
    rows = slice(max(top, 0), min(top + cover.shape[0], height))
    columns = slice(max(left, 0), min(left + cover.shape[1], width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = frame[rows, columns]
    cover = cover[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    part[:] = part + cover[:, :, None] * (np.array(color, float) - part) + 0.5
