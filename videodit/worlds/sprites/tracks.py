"""How a shape moves, from its area and its centre in every frame."""

import math
from typing import NamedTuple

import numpy as np

from videodit.worlds.sprites.space import DIRECTIONS, EDGES, OPPOSITE

WHOLE, GONE = 0.94, 0.04  # parts of its greatest area: nothing of it is hidden, nothing is seen
STILL = 0.03  # lengths in short sides
ASTRAY = 0.02  # from a line or a circle
EVENT_LEAST = 5  # frames: fewer are taken for one steady motion


class Track(NamedTuple):
    """How a shape moves."""

    motion: str
    speed: float  # short sides a second
    path: np.ndarray  # T 2: where it would be if nothing happened
    event: str = ""
    then: str = ""


def find_track(areas: np.ndarray, points: np.ndarray, size: np.ndarray, fps: float) -> Track:
    """Motion of a shape with these areas (T) and centres (T 2: x, y).

    Lengths, and the `size` of the picture (x, y), are in short sides.
    """
    whole = np.flatnonzero(areas >= WHOLE * areas.max())
    seen = np.flatnonzero(areas > GONE * areas.max())
    gone = np.setdiff1d(np.arange(seen[0], seen[-1]), seen)
    if len(gone):
        before, after = whole[whole < gone[0]], whole[whole > gone[-1]]
        track = _line(points, before if len(before) > 1 else seen[seen < gone[0]], fps)
        ahead = track.path[gone]
        if ((ahead < 0) | (ahead > size)).any():
            back = _line(points, after if len(after) > 1 else seen[seen > gone[-1]], fps)
            event = f"leaves at the {_edge(track.motion)} and comes back"
            return track._replace(event=event, then=back.motion)
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


def _edge(motion: str) -> str:
    return EDGES.get(motion, motion)


def _line(points: np.ndarray, frames: np.ndarray, fps: float) -> Track:
    """Steady motion through the points of these frames, by least squares."""
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
    return max(angles, key=angles.get)


def _astray(points: np.ndarray, frames: np.ndarray, track: Track) -> float:
    return float(np.abs(points[frames] - track.path[frames]).max())


def _circle(points: np.ndarray, frames: np.ndarray, fps: float) -> Track | None:
    """Motion round a circle (fitted by least squares), if that is what it is."""
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
    """Two steady motions one after the other."""
    halves = [
        (_line(points, frames[:k], fps), _line(points, frames[k:], fps), k)
        for k in range(2, len(frames) - 1)
    ]

    def misfit(half) -> float:
        one, other, k = half
        return sum(
            ((points[part] - track.path[part]) ** 2).sum()
            for track, part in ((one, frames[:k]), (other, frames[k:]))
        )

    one, other, _ = min(halves, key=misfit)
    before, after = DIRECTIONS.get(one.motion, (0, 0)), DIRECTIONS.get(other.motion, (0, 0))
    turned = tuple(b if b == -a else 0 for a, b in zip(after, before))
    names = {step: name for name, step in DIRECTIONS.items()}
    edge = _edge(names.get(turned, one.motion))
    return one._replace(event=f"bounces off the {edge} edge", then=other.motion)
