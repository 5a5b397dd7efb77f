"""The surfaces of the stage's objects, and noise for its textures, by numpy.

Lengths are in metres; z points up.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np


class Surface(NamedTuple):
    """Triangles between points."""

    points: np.ndarray  # N 3: x, y, z
    normals: np.ndarray  # N 3
    uv: np.ndarray  # N 2: places on the texture, 0 to 1; larger ones repeat it
    triangles: np.ndarray  # M 3: indices of points


def sheet(points: np.ndarray, normals: np.ndarray, repeat: tuple[float, float] = (1, 1)) -> Surface:
    """The surface through a grid of points (rows, columns, 3).

    `normals`: broadcast to the points. `repeat`: how often the texture repeats along columns and
    rows.
    """
    rows, columns = points.shape[:2]
    v, u = np.meshgrid(
        np.linspace(0, repeat[1], rows), np.linspace(0, repeat[0], columns), indexing="ij"
    )
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    right, up, both = corner + 1, corner + columns, corner + columns + 1
    halves = ((corner, right, both), (corner, both, up))
    triangles = np.concatenate([np.stack(half, 1) for half in halves])
    normals = np.broadcast_to(normals, points.shape).reshape(-1, 3)
    return Surface(points.reshape(-1, 3), normals, np.stack([u, v], -1).reshape(-1, 2), triangles)


def joined(*parts: Surface) -> Surface:
    """Several surfaces as one."""
    starts = np.cumsum([0, *(len(part.points) for part in parts)])
    return Surface(
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.uv for part in parts]),
        np.concatenate([part.triangles + start for part, start in zip(parts, starts)]),
    )


def turned_profile(profile: list[tuple[float, float]], columns: int = 24) -> Surface:
    """The surface that a profile, (radius, z) from bottom to top, makes when it turns about z.

    Its corners are sharp.
    """
    strips = []
    around = np.linspace(0, 2 * np.pi, columns + 1)
    c, s = np.cos(around), np.sin(around)
    for (r0, z0), (r1, z1) in itertools.pairwise(profile):
        points = np.array([[r * c, r * s, np.full_like(c, z)] for r, z in ((r0, z0), (r1, z1))])
        slope = np.array([z1 - z0, r0 - r1]) / np.hypot(z1 - z0, r0 - r1)
        normals = np.stack([slope[0] * c, slope[0] * s, np.full_like(c, slope[1])], -1)
        strips.append(sheet(points.transpose(0, 2, 1), normals[None], (2, 1)))
    return joined(*strips)


@functools.cache
def ball(rows: int = 14, columns: int = 24) -> Surface:
    """A ball of radius 1 that stands on the ground."""
    tilt = np.linspace(-np.pi / 2, np.pi / 2, rows)[:, None]
    around = np.linspace(0, 2 * np.pi, columns + 1)[None]
    up = np.sin(tilt) + 0 * around
    normals = np.stack([np.cos(tilt) * np.cos(around), np.cos(tilt) * np.sin(around), up], -1)
    return sheet(normals + (0, 0, 1), normals, (2, 1))


@functools.cache
def box(width: float = 1.6, depth: float = 1.6, height: float = 1.6) -> Surface:
    """A box that stands on the ground about the z axis."""
    sides = []
    for axis in range(3):
        for sign in (-1, 1):
            a, b = np.meshgrid((-1, 1), (-1, 1))
            points = np.empty((2, 2, 3))
            points[..., axis] = sign
            points[..., 0 if axis else 1], points[..., 1 if axis == 2 else 2] = a, b
            normal = sign * np.eye(3)[axis]
            half = np.array([width, depth, height]) / 2
            sides.append(sheet(points * half + (0, 0, half[2]), normal))
    return joined(*sides)


@functools.cache
def cylinder(radius: float = 0.64, height: float = 2.0) -> Surface:
    """A cylinder that stands upright on the ground."""
    return turned_profile([(0, 0), (radius, 0), (radius, height), (0, height)])


@functools.cache
def cone(radius: float = 1.0, height: float = 2.0, foot: float = 0.0) -> Surface:
    """An upright cone whose base is at the height `foot`."""
    return turned_profile([(0, foot), (radius, foot), (0, foot + height)])


@functools.cache
def ring(radius: float = 0.7, thick: float = 0.28, rows: int = 12, columns: int = 28) -> Surface:
    """A torus that stands on its edge; its hole is visible from the front."""
    tube = np.linspace(0, 2 * np.pi, rows + 1)[:, None]
    around = np.linspace(0, 2 * np.pi, columns + 1)[None]
    out = np.stack([np.cos(around), 0 * around, np.sin(around)], -1)
    normals = np.cos(tube)[..., None] * out + np.sin(tube)[..., None] * np.array([0, 1, 0])
    points = radius * out + thick * normals + (0, 0, radius + thick)
    return sheet(points, normals, (8, 1))


def noise(rng: np.random.Generator, height: int, width: int, smallest: int) -> np.ndarray:
    """Clouds: float (height, width) with mean 0 and std 1, periodic in both directions.

    Their structures range from the whole picture down to `smallest` pixels.
    """
    down, across = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    waves = np.hypot(down * height / width, across) if height < width else np.hypot(down, across)
    strength = np.where(waves > 0, 1 / np.maximum(waves, 1 / width), 0) * np.exp(
        -((waves * smallest) ** 2)
    )
    picture = np.fft.ifft2(np.fft.fft2(rng.standard_normal((height, width))) * strength).real
    return (picture - picture.mean()) / picture.std()
