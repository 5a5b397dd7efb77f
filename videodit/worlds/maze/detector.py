"""Reads the maze from its pictures: walls and floor by their colours, motion by how they shift,
things by how the first picture differs from one of an empty hall.

Doors, and what is lost from view, are not recognised: the verb "open" is never said, and the slots
"lost.*" are left out. Things of few pixels are often mistaken: docs/worlds.md says how often.
"""

import functools
from itertools import pairwise, product

import numpy as np

from videodit.worlds.grids import event_slots, resized
from videodit.worlds.maze import captions
from videodit.worlds.maze import game as maze_game
from videodit.worlds.maze import world as maze
from videodit.worlds.world import Detection

STEEP = 0.75  # half the height of what is seen at distance 1, for aspects up to 16:9
FLOOR, WALL = (0.22, 0.42), (-0.11, -0.02)  # bands of the picture, in the same units, down positive
BRIGHTNESS = 0.3  # how much it counts beside the hue: what is far is dark
SIDE = 96  # columns and rows of the pictures in which motion is looked for
STILL = 1.0  # levels: mean difference of pictures that show the same
ZOOMS = (0.94, 0.97, 1.0, 1 / 0.97, 1 / 0.94)
CHANGED = 14.0  # levels: more than this is not the empty hall
NOISE = 2.0  # times as much as in most columns, too
GAP = 0.04  # in units of 45 degrees: as far as parts of one thing are apart
SIZES = ((320, 240), (96, 72), (64, 48))  # of pictures of known things
FAR = 40  # columns at most by which a picture is seen to shift


def detect(frames: np.ndarray) -> dict[str, Detection]:
    """Walls, floor and the player's motion in frames uint8 T H W 3."""
    surfaces = _surfaces(frames[0])
    slots = {
        name: _nearest(color, colors)
        for name, color, colors in zip(("walls", "floor"), surfaces, _references())
    }
    slots |= _things(frames[0], slots["walls"].value, slots["floor"].value)
    if len(frames) > 1:
        small = [resized(frame, SIDE, SIDE).mean(-1) for frame in frames]
        turns, steps, sure = np.array([_move(*pair) for pair in pairwise(small)]).T
        events = event_slots(maze.events(_states(turns, steps)))
        slots |= {name: Detection(value, float(sure.mean())) for name, value in events.items()}
    return slots


def _surfaces(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours (RGB) of the walls and of the floor."""
    height, width = frame.shape[:2]
    bands = []
    for band in (WALL, FLOOR):
        rows = (height / 2 + np.array(band) * _unit(width, height)).round().astype(int)
        bands.append(frame[rows[0] : max(rows[1], rows[0] + 1)].reshape(-1, 3))
    return np.median(bands[0], axis=0), bands[1].mean(0)


def _unit(width: int, height: int) -> float:
    """Pixels from the middle of a picture to what is seen at 45 degrees from it."""
    return height / 2 / min(STEEP, STEEP * (16 / 9) / (width / height))


@functools.cache
def _references() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Colours of each kind of wall and of floor, from pictures of empty halls."""
    walls, floors = {}, {}
    for wall, floor in zip(maze_game.WALLS, maze_game.FLOORS, strict=True):
        walls[wall], floors[floor] = _surfaces(maze_game.still(wall, floor)[0])
    return walls, floors


def _nearest(color: np.ndarray, colors: dict[str, np.ndarray]) -> Detection:
    """Which of the colours it is most like."""

    def features(color: np.ndarray) -> np.ndarray:
        level = color.mean() + 1
        return np.append(color / level, BRIGHTNESS * np.log(level))

    distances = {
        name: float(np.linalg.norm(features(color) - features(other)))
        for name, other in colors.items()
    }
    best, second = sorted(distances, key=distances.get)[:2]
    return Detection(best, 1 - distances[best] / (distances[best] + distances[second]))


def _things(frame: np.ndarray, wall: str, floor: str) -> dict[str, Detection]:
    """What stands in the hall; nothing is said if that cannot be told from an empty one."""
    blobs = _blobs(frame, _empty(frame, wall, floor))
    if not 0 < len(blobs) <= maze.MOST:
        return {}
    known = _known_things()
    slots = {"things": Detection(captions.COUNTS[len(blobs)], 1.0)}
    for k, (place, look) in enumerate(blobs, 1):
        distances = sorted((float(np.linalg.norm(look - other)), name) for name, other in known)
        best, (color, kind) = distances[0]
        second = next(far for far, name in distances if name != (color, kind))
        sure = 1 - best / max(best + second, 1e-6)
        word = ("left", "middle", "right")[int(3 * place)]
        values = {"color": color, "kind": kind, "place": word}
        slots |= {f"t{k}.{name}": Detection(value, sure) for name, value in values.items()}
    return slots


def _blobs(frame: np.ndarray, empty: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """(place from 0 to 1, look) of what a picture has and an empty hall has not, left to right."""
    height, width = frame.shape[:2]
    unit = _unit(width, height)
    change = _change(frame, empty)
    usual = np.median(change.max(0))  # most columns show no thing
    changed = change > max(CHANGED, NOISE * usual)
    changed[: int(height / 2 - 0.5 * unit)] = False
    filled = np.flatnonzero(changed.sum(0) > 0.03 * unit)
    blobs = []
    for columns in np.split(filled, np.flatnonzero(np.diff(filled) > GAP * unit + 1) + 1):
        if len(columns) > 0.01 * unit:
            part = slice(columns[0], columns[-1] + 1)
            rows, _ = np.nonzero(changed[:, part])
            colors = frame[:, part][changed[:, part]] / 255
            low = max(rows.max() + 1 - height / 2, 1)
            tall, wide = (np.ptp(rows) + 1) / low, len(columns) / low
            color = [*colors.mean(0), *colors.std(0), np.ptp(colors.mean(0))]
            shape = [0.3 * np.log(tall), 0.3 * np.log(wide), len(colors) / len(columns) / low / 3]
            blobs.append(((columns.mean() + 0.5) / width, np.array(color + shape)))
    return blobs


def _empty(frame: np.ndarray, wall: str, floor: str) -> np.ndarray:
    """The picture of an empty hall, at the size of a frame, that is most like it."""
    height, width = frame.shape[:2]
    halls = _halls(wall, floor, width / height > 4 / 3)
    rows, columns = maze_game.cut(halls[0], width / height)
    pictures = (resized(hall[rows, columns], width, height) for hall in halls)
    return min(pictures, key=lambda empty: np.minimum(_change(frame, empty), CHANGED).sum())


@functools.lru_cache(maxsize=2)  # each of 36 MB
def _halls(wall: str, floor: str, wide: bool) -> list[np.ndarray]:
    return maze_game.empty_halls(wall, floor, 16 / 9 if wide else 4 / 3)


def _change(frame: np.ndarray, empty: np.ndarray) -> np.ndarray:
    """Mean difference of the colours of each pixel, in levels."""
    return abs(frame.astype(float) - empty).mean(-1)


@functools.cache
def _known_things() -> list[tuple[tuple[str, str], np.ndarray]]:
    """Names and looks of every thing at several distances, in pictures of several sizes."""
    known, names = [], list(maze_game.THINGS)
    empty, _ = maze_game.still("stone", "earth")
    for far, k in product((140, 300), range(0, len(names), 3)):
        aside = 80 + far / 8
        places = zip(names[k : k + 3], (aside, 0, -aside))  # from left to right
        things = [(name, maze_game.START + far, y) for name, y in places]
        picture, _ = maze_game.still("stone", "earth", things)
        for size in SIZES:
            blobs = _blobs(resized(picture, *size), resized(empty, *size))
            if len(blobs) == len(things):
                known += [(name, look) for (name, _, _), (_, look) in zip(things, blobs)]
    return known


def _move(before: np.ndarray, after: np.ndarray) -> tuple[int, int, float]:
    """(turn to the left: 1, 0, -1; step ahead: 1, 0, -1; confidence) from a picture to the next."""
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
    best, second = sorted(errors, key=errors.get)[:2]
    return *best, float(1 - errors[best] / max(errors[second], 1e-6))


def _error(before: np.ndarray, after: np.ndarray, shift: int) -> float:
    """Mean difference where a picture lies on one that is moved to the right by `shift`."""
    if shift > 0:
        return float(abs(before[:, :-shift] - after[:, shift:]).mean())
    return float(abs(before[:, -shift:] - after[:, :shift]).mean())


def _zoomed(picture: np.ndarray, zoom: float) -> np.ndarray:
    """The picture magnified about its middle, its border repeated."""
    middle = (SIDE - 1) / 2
    index = ((np.arange(SIDE) - middle) / zoom + middle).round().astype(int).clip(0, SIDE - 1)
    return picture[np.ix_(index, index)]


def _states(turns: np.ndarray, steps: np.ndarray) -> list[dict]:
    """What `maze.events` needs, with the same turn or step for every move of its kind."""
    angles = 2 * maze.TURNED * np.cumsum([0, *turns])
    places = 2 * maze.MOVED * np.cumsum([0, *steps])
    return [{"angle": a, "x": x, "y": 0.0, "door": 0} for a, x in zip(angles, places)]
