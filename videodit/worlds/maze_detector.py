"""Reads the maze from its pictures: walls and floor by their colours, motion by how they shift.

Things and doors are not recognised: their slots are left out.
"""

import functools
from itertools import pairwise

import numpy as np

from videodit.worlds import maze
from videodit.worlds.grids import event_slots, resized
from videodit.worlds.world import Detection

STEEP = 0.75  # half the height of what is seen at distance 1, for aspects up to 16:9
FLOOR, WALL = (0.22, 0.42), (-0.11, -0.02)  # bands of the picture, in the same units, down positive
BRIGHTNESS = 0.3  # how much it counts beside the hue: what is far is dark
SIDE = 96  # columns and rows of the pictures in which motion is looked for
STILL = 1.0  # levels: mean difference of pictures that show the same
ZOOMS = (0.94, 0.97, 1.0, 1 / 0.97, 1 / 0.94)
FAR = 40  # columns at most by which a picture is seen to shift


def detect(frames: np.ndarray) -> dict[str, Detection]:
    """Walls, floor and the player's motion in frames uint8 T H W 3."""
    surfaces = _surfaces(frames[0])
    slots = {
        name: _nearest(color, colors)
        for name, color, colors in zip(("walls", "floor"), surfaces, _references())
    }
    if len(frames) > 1:
        small = [resized(frame, SIDE, SIDE).mean(-1) for frame in frames]
        turns, steps, sure = np.array([_move(*pair) for pair in pairwise(small)]).T
        events = event_slots(maze.events(_states(turns, steps)))
        slots |= {name: Detection(value, float(sure.mean())) for name, value in events.items()}
    return slots


def _surfaces(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours (RGB) of the walls and of the floor."""
    height, width = frame.shape[:2]
    steep = min(STEEP, STEEP * (16 / 9) / (width / height))
    bands = []
    for top, bottom in (WALL, FLOOR):
        rows = ((np.array([top, bottom]) / steep + 1) / 2 * height).round().astype(int)
        bands.append(frame[rows[0] : max(rows[1], rows[0] + 1)].reshape(-1, 3))
    return np.median(bands[0], axis=0), bands[1].mean(0)


@functools.cache
def _references() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Colours of each kind of wall and of floor, from pictures of empty halls."""
    walls, floors = {}, {}
    for wall, floor in zip(maze.WALLS, maze.FLOORS, strict=True):
        walls[wall], floors[floor] = _surfaces(maze.empty_hall(wall, floor))
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
