"""The space of the stage: what is in it, where that is at each frame, and what the camera sees.

Units are metres, seconds and degrees; x points to the right, y away from the viewer, z up, and the
origin is the middle of the stage. What is seen depends on a clip's duration and aspect, not on its
resolution.
"""

import functools
from typing import NamedTuple

import numpy as np

from videodit.worlds.world import Shape

HALF_FOV = 20.0  # half the angle of view across the shorter side of the picture
LOOK_AT = (0.0, 0.0, 1.1)
FULL_SPEED = 1.0  # seconds; a shorter clip shows only the corresponding part of a motion


class Thing(NamedTuple):
    """An object and its motion."""

    kind: str
    color: str
    size: str
    radius: float  # half its height, about
    start: np.ndarray  # x y z of the point on which it stands at the start
    heading: float  # counterclockwise, seen from above
    motion: str
    direction: str | None
    reach: np.ndarray  # x y z: extent of the whole motion; for a circle, x is its radius
    turns: float  # number of circles or bounces in the clip


class Occluder(NamedTuple):
    """A thing behind which an object passes. It hides what a box of its size would hide."""

    kind: str  # "wall" or "pillar"
    middle: tuple[float, float]  # x y
    width: float
    height: float
    depth: float


class Scene(NamedTuple):
    """Everything that a clip shows."""

    things: tuple[Thing, ...]  # from left to right in the first frame
    occluder: Occluder | None
    place: str
    camera: str
    camera_direction: str | None
    height: float  # of the camera
    distance: float  # of the camera from the middle of the stage, along y
    swing: float  # of the camera's whole motion, see SWINGS
    seed: int  # decides what stands around


class View(NamedTuple):
    """Where the camera is, and the point at which it looks."""

    position: np.ndarray  # x y z
    target: np.ndarray  # x y z


def duration(shape: Shape) -> float:
    """Seconds from the first to the last frame."""
    return (shape.frames - 1) / shape.fps


def share(shape: Shape) -> float:
    """The part of a motion that a clip of this shape shows, 0 to 1."""
    return min(1.0, duration(shape) / FULL_SPEED)


def half_extents(shape: Shape) -> tuple[float, float]:
    """The tangents of half the angle of view: (horizontal, vertical)."""
    tangent = np.tan(np.radians(HALF_FOV)) / min(shape.width, shape.height)
    return tangent * shape.width, tangent * shape.height


def positions(scene: Scene, shape: Shape) -> np.ndarray:
    """The point on which each object stands: float (frames, objects, 3)."""
    done = np.linspace(0, 1, shape.frames)[:, None] if shape.frames > 1 else np.zeros((1, 1))
    return np.stack([thing.start + _moved(thing, done, shape) for thing in scene.things], axis=1)


def _moved(thing: Thing, done: np.ndarray, shape: Shape) -> np.ndarray:
    """How far an object is from its start when a part `done` of the clip is over.

    `done`: float (frames, 1), 0 to 1. Returns float (frames, 3).
    """
    if thing.motion == "bounce":
        return thing.reach * abs(np.sin(np.pi * thing.turns * done))
    if thing.motion == "circle":
        angle = 2 * np.pi * thing.turns * done
        ways = [np.cos(angle) - 1, np.sin(angle), 0 * angle]
        return thing.reach[0] * np.concatenate(ways, axis=1)
    return thing.reach * done * share(shape)


def middles_of(scene: Scene, shape: Shape) -> np.ndarray:
    """The middle of each object: float (frames, objects, 3)."""
    up = [(0, 0, thing.radius) for thing in scene.things]
    return positions(scene, shape) + np.array(up)


def view(scene: Scene, shape: Shape, frame: int) -> View:
    """The camera at a frame."""
    done = (frame / max(shape.frames - 1, 1) - 0.5) * share(shape)
    sign = {"left": -1, "right": 1, "in": -1, "out": 1, None: 0}[scene.camera_direction]
    middle, swing = np.array(LOOK_AT), sign * done * scene.swing
    position = np.array([0.0, -scene.distance, scene.height])
    if scene.camera == "orbit":
        return View(_turned(position, swing), middle)
    if scene.camera == "pan":
        return View(position, position + _turned(middle - position, -swing))
    if scene.camera == "dolly":
        ahead = (position - middle) / np.linalg.norm(position - middle)
        return View(position + swing * ahead, middle)
    return View(position, middle)


def project(points: np.ndarray, seen: View, shape: Shape) -> np.ndarray:
    """Points (..., 3) as the camera sees them: (..., x to the right, y up, depth).

    x and y are -1 to 1 within the picture; the depth is in metres.
    """
    forward = seen.target - seen.position
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, forward), forward], axis=-1)
    across, up, depth = np.moveaxis((points - seen.position) @ axes, -1, 0)
    wide, high = half_extents(shape)
    return np.stack([across / depth / wide, up / depth / high, depth], axis=-1)


def visible(scene: Scene, shape: Shape, seen: View, middles: np.ndarray, i: int) -> float:
    """The share of object i that is in the picture and not hidden, 0 to 1.

    `middles`: the middle of each object at that frame (objects, 3).
    """
    points = _disc(middles[i], scene.things[i].radius, seen)
    flat = project(points, seen, shape)
    inside = (abs(flat[:, :2]) < 1).all(axis=1)
    return float((inside & ~_hidden(points, scene, seen, middles, i)).mean())


def _hidden(
    points: np.ndarray, scene: Scene, seen: View, middles: np.ndarray, i: int
) -> np.ndarray:
    """Bool (points): which points of object i another object or the occluder hides."""
    rays = points - seen.position
    hidden = np.zeros(len(points), bool)
    for j, thing in enumerate(scene.things):
        if j != i:
            along = ((middles[j] - seen.position) * rays).sum(1) / (rays**2).sum(1)
            gap = np.linalg.norm(middles[j] - seen.position - along[:, None] * rays, axis=1)
            hidden |= (along < 1) & (gap < 0.9 * thing.radius)
    if scene.occluder is not None:
        hidden |= _behind(scene.occluder, seen.position, rays)
    return hidden


def _behind(occluder: Occluder, eye: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Bool (rays): which rays (N 3) from the eye enter the occluder's box before they end."""
    x, y = occluder.middle
    w, h, d = occluder.width, occluder.height, occluder.depth
    low, high = np.array([x - w / 2, y - d / 2, 0]), np.array([x + w / 2, y + d / 2, h])
    with np.errstate(divide="ignore", invalid="ignore"):
        to_low, to_high = (low - eye) / rays, (high - eye) / rays
    enter = np.minimum(to_low, to_high).max(axis=1)
    leave = np.maximum(to_low, to_high).min(axis=1)
    return (enter < leave) & (enter > 0) & (enter < 1)


def _disc(middle: np.ndarray, radius: float, seen: View) -> np.ndarray:
    """37 points, float (37, 3), on the disc that the camera sees of a ball."""
    forward = middle - seen.position
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    up /= np.linalg.norm(up)
    return middle + radius * (_unit_disc() @ np.stack([right, up]))


@functools.cache
def _unit_disc() -> np.ndarray:
    """37 points, float (37, 2), on rings of a disc of radius 1."""
    rings = [
        (r * np.cos(a), r * np.sin(a))
        for r, n in ((0.0, 1), (0.3, 6), (0.6, 12), (0.9, 18))
        for a in np.arange(n) * 2 * np.pi / n
    ]
    return np.array(rings)


def _turned(point: np.ndarray, degrees: float) -> np.ndarray:
    """A point (3) turned about the z axis, counterclockwise seen from above."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([c * point[0] - s * point[1], s * point[0] + c * point[1], point[2]])
