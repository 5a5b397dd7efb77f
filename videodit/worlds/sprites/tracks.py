"""How a shape moves, told from its area and its centre in every frame.

Lengths are in units of the shorter side of the picture.
"""

import math
from typing import NamedTuple

import numpy as np

from videodit.worlds.sprites.space import DIRECTIONS, EDGES, OPPOSITE

WHOLE = 0.94  # share of its largest area from which on a shape is fully visible
GONE = 0.04  # share up to which it is out of sight
STILL = 0.03  # a shape that moves less is still
ASTRAY = 0.02  # largest distance from a line or a circle that counts as being on it
EVENT_LEAST = 5  # frames; fewer count as one steady motion


class Track(NamedTuple):
    """How a shape moves."""

    motion: str
    speed: float  # short sides a second
    path: np.ndarray  # T 2: where it would be without the event
    event: str = ""
    then: str = ""


def find_track(areas: np.ndarray, points: np.ndarray, size: np.ndarray, fps: float) -> Track:
    """The motion of a shape with these areas (T) and centres (T 2: x, y).

    `size`: width and height of the picture (2). `fps`: frames a second.
    """
    whole = np.flatnonzero(areas >= WHOLE * areas.max())
    seen = np.flatnonzero(areas > GONE * areas.max())
    returned = _return(points, whole, seen, size, fps)
    if returned is not None:
        return returned
    track = _line(points, whole if len(whole) > 1 else seen, fps)
    if seen[0] > 0:
        event = f"enters from the {_edge(OPPOSITE.get(track.motion, track.motion))}"
        return track._replace(event=event)
    if seen[-1] < len(areas) - 1:
        return track._replace(event=f"leaves at the {_edge(track.motion)}")
    if (
        track.motion == "still"
        or _astray(points, whole, track) < ASTRAY
        or len(whole) < EVENT_LEAST
    ):
        return track
    return _circle(points, whole, fps) or _bounce(points, whole, fps)


def _return(
    points: np.ndarray, whole: np.ndarray, seen: np.ndarray, size: np.ndarray, fps: float
) -> Track | None:
    """The track of a shape that leaves the picture and comes back; None if it does not.

    `whole`, `seen`: the frames in which the shape is fully visible, and in which it is visible.
    """
    gone = np.setdiff1d(np.arange(seen[0], seen[-1]), seen)
    if not len(gone):
        return None
    before, after = whole[whole < gone[0]], whole[whole > gone[-1]]
    track = _line(points, before if len(before) > 1 else seen[seen < gone[0]], fps)
    ahead = track.path[gone]
    if not ((ahead < 0) | (ahead > size)).any():  # hidden behind another shape
        return None
    back = _line(points, after if len(after) > 1 else seen[seen > gone[-1]], fps)
    event = f"leaves at the {_edge(track.motion)} and comes back"
    return track._replace(event=event, then=back.motion)


def _edge(motion: str) -> str:
    """The edge to which a shape with this motion comes."""
    return EDGES.get(motion, motion)


def _line(points: np.ndarray, frames: np.ndarray, fps: float) -> Track:
    """The steady motion through the points of these frames, by least squares."""
    frames = frames if len(frames) else np.arange(1)
    times = frames / fps
    middle, centre = times.mean(), points[frames].mean(0)
    spread = ((times - middle) ** 2).sum()
    velocity = ((times - middle) @ (points[frames] - centre)) / spread if spread else np.zeros(2)
    every = np.arange(len(points)) / fps
    path = centre + (every - middle)[:, None] * velocity
    far = np.abs(points[frames] - points[frames[0]]).max()
    motion = "still" if far < STILL else _direction(velocity)
    return Track(motion, float(np.hypot(*velocity)), path)


def _direction(velocity: np.ndarray) -> str:
    """The nearest of the eight directions."""
    angles = {name: velocity @ step / math.hypot(*step) for name, step in DIRECTIONS.items()}
    return max(angles, key=angles.__getitem__)


def _astray(points: np.ndarray, frames: np.ndarray, track: Track) -> float:
    """The largest distance of the points of these frames from the track, in x or y."""
    return float(np.abs(points[frames] - track.path[frames]).max())


def _circle(points: np.ndarray, frames: np.ndarray, fps: float) -> Track | None:
    """The motion round a circle, fitted by least squares; None if the points are on no circle."""
    x, y = points[frames].T
    known = np.stack([x, y, np.ones_like(x)], 1)
    (a, b, c), *_ = np.linalg.lstsq(known, x * x + y * y, rcond=None)
    centre = np.array([a, b]) / 2
    radius = math.sqrt(max(c + centre @ centre, 0))
    away = points[frames] - centre
    angles = np.unwrap(np.arctan2(away[:, 1], away[:, 0]))
    swept = angles[-1] - angles[0]
    off = np.abs(np.hypot(*away.T) - radius).max()
    if off > ASTRAY or abs(swept) < 1.2 * math.pi or (np.diff(angles) * np.sign(swept) < 0).any():
        return None
    seconds = (frames[-1] - frames[0]) / fps
    motion = "clockwise" if swept > 0 else "counterclockwise"  # y points down
    return Track(motion, radius * abs(swept) / seconds, points)


def _bounce(points: np.ndarray, frames: np.ndarray, fps: float) -> Track:
    """Two steady motions, one after the other: the split into two that fits the points best."""
    halves = [
        (_line(points, frames[:k], fps), _line(points, frames[k:], fps), k)
        for k in range(2, len(frames) - 1)
    ]

    def misfit(half: tuple[Track, Track, int]) -> float:
        one, other, k = half
        return sum(
            ((points[part] - track.path[part]) ** 2).sum()
            for track, part in ((one, frames[:k]), (other, frames[k:]))
        )

    one, other, _ = min(halves, key=misfit)
    before, after = DIRECTIONS.get(one.motion, (0, 0)), DIRECTIONS.get(other.motion, (0, 0))
    turned = (
        before[0] if before[0] == -after[0] else 0,
        before[1] if before[1] == -after[1] else 0,
    )
    names = {step: name for name, step in DIRECTIONS.items()}
    edge = _edge(names.get(turned, one.motion))
    return one._replace(event=f"bounces off the {edge} edge", then=other.motion)
