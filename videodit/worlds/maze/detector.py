"""Finds a maze clip's slots in its frames.

Walls and floor are told by their colours, the player's motion by how pictures shift and grow from
frame to frame, and things by how the first frame differs from one of an empty hall.

The detector recognises no doors and no thing that is lost from view: it never says the verb "open"
and leaves out the slots "lost.*". It often mistakes things of few pixels: docs/worlds.md says how
often.
"""

import functools
from itertools import pairwise, product

import numpy as np

from videodit.worlds.grids import event_slots, resized
from videodit.worlds.maze import game
from videodit.worlds.maze.captions import COUNTS
from videodit.worlds.maze.facts import MOVED, PLACES, TURNED, events
from videodit.worlds.maze.scene import FLOORS, MOST, START, THINGS, WALLS
from videodit.worlds.world import Detection

STEEP = 0.75  # half the height of the view at distance 1, for aspects up to 16:9
FLOOR, WALL = (0.22, 0.42), (-0.11, -0.02)  # rows whose colour is taken; units of `_unit`, down
BRIGHTNESS = 0.3  # its weight beside the hue, which is 1: what is far away is dark
SIDE = 96  # columns and rows of the pictures in which motion is measured
STILL = 1.0  # levels: mean difference of pictures that show the same
ZOOMS = (0.94, 0.97, 1.0, 1 / 0.97, 1 / 0.94)
CHANGED = 14.0  # levels: a pixel that differs more does not show the empty hall,
NOISE = 2.0  # if it also differs this many times as much as pixels in most columns do
GAP = 0.04  # units of `_unit`: the farthest apart that parts of one thing are
SIZES = ((320, 240), (96, 72), (64, 48))  # width, height of the pictures of known things
FAR = 40  # columns: the largest shift that is looked for


def detect(frames: np.ndarray) -> dict[str, Detection]:
    """Walls, floor, things in the first frame and the player's motion.

    `frames`: uint8 T H W 3, RGB.
    """
    surfaces = _surfaces(frames[0])
    slots = {
        name: _nearest(color, colors)
        for name, color, colors in zip(("walls", "floor"), surfaces, _references())
    }
    slots |= _things(frames[0], slots["walls"].value, slots["floor"].value)
    return slots | _motion(frames) if len(frames) > 1 else slots


def _motion(frames: np.ndarray) -> dict[str, Detection]:
    """The player's events."""
    small = [resized(frame, SIDE, SIDE).mean(-1) for frame in frames]
    turns, steps, sure = np.array([_move(*pair) for pair in pairwise(small)]).T
    found = event_slots(events(_states(turns, steps)))
    return {name: Detection(value, float(sure.mean())) for name, value in found.items()}


def _surfaces(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The colours (RGB, float 3) of the walls and of the floor in a frame (uint8 H W 3)."""
    height, width = frame.shape[:2]
    bands = []
    for band in (WALL, FLOOR):
        rows = (height / 2 + np.array(band) * _unit(width, height)).round().astype(int)
        bands.append(frame[rows[0] : max(rows[1], rows[0] + 1)].reshape(-1, 3))
    return np.median(bands[0], axis=0), bands[1].mean(0)


def _unit(width: int, height: int) -> float:
    """Pixels between the middle of a picture and a point seen at 45 degrees from it."""
    return height / 2 / min(STEEP, STEEP * (16 / 9) / (width / height))


@functools.cache
def _references() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The colour of each kind of wall and of each kind of floor, from pictures of empty halls."""
    walls, floors = {}, {}
    for wall, floor in zip(WALLS, FLOORS, strict=True):
        walls[wall], floors[floor] = _surfaces(game.still(wall, floor)[0])
    return walls, floors


def _nearest(color: np.ndarray, colors: dict[str, np.ndarray]) -> Detection:
    """The name of the colour that is most like `color`."""

    def features(color: np.ndarray) -> np.ndarray:
        level = color.mean() + 1
        return np.append(color / level, BRIGHTNESS * np.log(level))

    distances = {
        name: float(np.linalg.norm(features(color) - features(other)))
        for name, other in colors.items()
    }
    best, second = sorted(distances, key=distances.__getitem__)[:2]
    return Detection(best, 1 - distances[best] / (distances[best] + distances[second]))


def _things(frame: np.ndarray, wall: str, floor: str) -> dict[str, Detection]:
    """The things in the first frame; no slots if none or more than MOST are found."""
    blobs = _blobs(frame, _empty(frame, wall, floor))
    if not 0 < len(blobs) <= MOST:
        return {}
    known = _known_things()
    slots = {"things": Detection(COUNTS[len(blobs)], 1.0)}
    for k, (place, look) in enumerate(blobs, 1):
        distances = sorted((float(np.linalg.norm(look - other)), name) for name, other in known)
        best, (color, kind) = distances[0]
        second = next(far for far, name in distances if name != (color, kind))
        sure = 1 - best / max(best + second, 1e-6)
        values = {"color": color, "kind": kind, "place": PLACES[int(3 * place)]}
        slots |= {f"t{k}.{name}": Detection(value, sure) for name, value in values.items()}
    return slots


def _blobs(frame: np.ndarray, empty: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """The things that a frame shows and the picture of the empty hall does not, left to right.

    Both pictures are uint8 H W 3. A thing is (its place across the picture, 0 to 1; its look).
    """
    height, width = frame.shape[:2]
    unit = _unit(width, height)
    changed = _changed(frame, empty, unit)
    filled = np.flatnonzero(changed.sum(0) > 0.03 * unit)
    parts = np.split(filled, np.flatnonzero(np.diff(filled) > GAP * unit + 1) + 1)
    return [
        ((columns.mean() + 0.5) / width, _look(frame, changed, columns))
        for columns in parts
        if len(columns) > 0.01 * unit
    ]


def _changed(frame: np.ndarray, empty: np.ndarray, unit: float) -> np.ndarray:
    """Bool H W: pixels that differ from the empty hall, but for those high above the horizon."""
    change = _change(frame, empty)
    usual = np.median(change.max(0))  # most columns show no thing
    changed = change > max(CHANGED, NOISE * usual)
    changed[: int(len(frame) / 2 - 0.5 * unit)] = False
    return changed


def _look(frame: np.ndarray, changed: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Features of the thing in these columns: its colours, and its form in units of its depth.

    The lowest row of a thing stands for its depth: things that are near reach far down.
    """
    part = slice(columns[0], columns[-1] + 1)
    rows, _ = np.nonzero(changed[:, part])
    colors = frame[:, part][changed[:, part]] / 255
    low = max(rows.max() + 1 - len(frame) / 2, 1)
    tall, wide = (np.ptp(rows) + 1) / low, len(columns) / low
    color = [*colors.mean(0), *colors.std(0), np.ptp(colors.mean(0))]
    form = [0.3 * np.log(tall), 0.3 * np.log(wide), len(colors) / len(columns) / low / 3]
    return np.array(color + form)


def _empty(frame: np.ndarray, wall: str, floor: str) -> np.ndarray:
    """The picture of an empty hall that is most like a frame, at the frame's size."""
    height, width = frame.shape[:2]
    halls = _halls(wall, floor, width / height > 4 / 3)
    rows, columns = game.cut(halls[0], width / height)
    pictures = (resized(hall[rows, columns], width, height) for hall in halls)
    return min(pictures, key=lambda empty: np.minimum(_change(frame, empty), CHANGED).sum())


@functools.lru_cache(maxsize=2)  # each of 36 MB
def _halls(wall: str, floor: str, wide: bool) -> list[np.ndarray]:
    """Pictures along the way through an empty hall."""
    return game.empty_halls(wall, floor, 16 / 9 if wide else 4 / 3)


def _change(frame: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Float H W: the difference of each pixel in levels, averaged over its channels."""
    return abs(frame.astype(float) - empty).mean(-1)


@functools.cache
def _known_things() -> list[tuple[tuple[str, str], np.ndarray]]:
    """(name, look) of every thing at two distances in pictures of three sizes."""
    known, names = [], list(THINGS)
    empty, _ = game.still("stone", "earth")
    for far, k in product((140, 300), range(0, len(names), 3)):
        aside = 80 + far / 8
        places = zip(names[k : k + 3], (aside, 0, -aside))  # from left to right
        things = [(name, START + far, y) for name, y in places]
        picture, _ = game.still("stone", "earth", things)
        for size in SIZES:
            blobs = _blobs(resized(picture, *size), resized(empty, *size))
            if len(blobs) == len(things):
                known += [(name, look) for (name, _, _), (_, look) in zip(things, blobs)]
    return known


def _move(before: np.ndarray, after: np.ndarray) -> tuple[int, int, float]:
    """How the player moves between two pictures (float SIDE SIDE).

    Returns (1 for a turn to the left, -1 to the right, else 0; 1 for a step ahead, -1 back, else 0;
    confidence).
    """
    if abs(after - before).mean() < STILL:
        return 0, 0, 1.0
    shifts = {s: _error(before, after, s) for s in range(-FAR, FAR + 1) if s}
    zooms = {zoom: abs(_zoomed(before, zoom) - after).mean() for zoom in ZOOMS}
    errors = {
        (1, 0): min(error for shift, error in shifts.items() if shift > 0),
        (-1, 0): min(error for shift, error in shifts.items() if shift < 0),
        (0, 1): min(error for zoom, error in zooms.items() if zoom > 1),
        (0, -1): min(error for zoom, error in zooms.items() if zoom < 1),
        (0, 0): zooms[1.0],
    }
    best, second = sorted(errors, key=errors.__getitem__)[:2]
    return *best, float(1 - errors[best] / max(errors[second], 1e-6))


def _error(before: np.ndarray, after: np.ndarray, shift: int) -> float:
    """Mean difference, where they overlap, of `after` and of `before` shifted right by `shift`."""
    if shift > 0:
        return float(abs(before[:, :-shift] - after[:, shift:]).mean())
    return float(abs(before[:, -shift:] - after[:, :shift]).mean())


def _zoomed(picture: np.ndarray, zoom: float) -> np.ndarray:
    """The picture magnified about its middle; its border is repeated where it shrinks."""
    middle = (SIDE - 1) / 2
    index = ((np.arange(SIDE) - middle) / zoom + middle).round().astype(int).clip(0, SIDE - 1)
    return picture[np.ix_(index, index)]


def _states(turns: np.ndarray, steps: np.ndarray) -> list[dict]:
    """States for `events`: a turn is always 2 TURNED, a step always 2 MOVED."""
    angles = 2 * TURNED * np.cumsum([0, *turns])
    places = 2 * MOVED * np.cumsum([0, *steps])
    return [{"angle": a, "x": x, "y": 0.0, "door": 0} for a, x in zip(angles, places)]
