"""Surfaces and textures of the stage, by numpy.

A surface is (points (N, 3), normals (N, 3), uv (N, 2), triangles (M, 3)): metres, z up.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np


class Surface(NamedTuple):
    """See above."""

    points: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray


def sheet(points: np.ndarray, normals: np.ndarray, repeat: tuple[float, float] = (1, 1)) -> Surface:
    """The surface of a grid (rows, columns, 3) of points; normals point to its right-hand side."""
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
    triangles = [part.triangles + start for part, start in zip(parts, starts)]
    arrays = (np.concatenate(a) for a in list(zip(*parts))[:3])
    return Surface(*arrays, np.concatenate(triangles))


def turned_profile(profile: list[tuple[float, float]], columns: int = 24) -> Surface:
    """A profile of (radius, z), bottom to top, turned about the z axis; sharp at each corner."""
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
    """Radius 1, standing on the ground."""
    tilt = np.linspace(-np.pi / 2, np.pi / 2, rows)[:, None]
    around = np.linspace(0, 2 * np.pi, columns + 1)[None]
    up = np.sin(tilt) + 0 * around
    normals = np.stack([np.cos(tilt) * np.cos(around), np.cos(tilt) * np.sin(around), up], -1)
    return sheet(normals + (0, 0, 1), normals, (2, 1))


@functools.cache
def box(width: float = 1.6, depth: float = 1.6, height: float = 1.6) -> Surface:
    """Standing on the ground about the z axis."""
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
    """Upright on the ground."""
    return turned_profile([(0, 0), (radius, 0), (radius, height), (0, height)])


@functools.cache
def cone(radius: float = 1.0, height: float = 2.0, foot: float = 0.0) -> Surface:
    """Upright, its base at `foot`."""
    return turned_profile([(0, foot), (radius, foot), (0, foot + height)])


@functools.cache
def ring(radius: float = 0.7, thick: float = 0.28, rows: int = 12, columns: int = 28) -> Surface:
    """A torus on its edge; its hole is seen from the front."""
    tube = np.linspace(0, 2 * np.pi, rows + 1)[:, None]
    around = np.linspace(0, 2 * np.pi, columns + 1)[None]
    out = np.stack([np.cos(around), 0 * around, np.sin(around)], -1)
    normals = np.cos(tube)[..., None] * out + np.sin(tube)[..., None] * np.array([0, 1, 0])
    points = radius * out + thick * normals + (0, 0, radius + thick)
    return sheet(points, normals, (8, 1))


def noise(rng: np.random.Generator, height: int, width: int, smallest: int) -> np.ndarray:
    """Periodic clouds, float height x width with mean 0 and standard deviation 1.

    Their structure goes from the whole picture down to `smallest` pixels.
    """
    down, across = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    waves = np.hypot(down * height / width, across) if height < width else np.hypot(down, across)
    strength = np.where(waves > 0, 1 / np.maximum(waves, 1 / width), 0) * np.exp(
        -((waves * smallest) ** 2)
    )
    picture = np.fft.ifft2(np.fft.fft2(rng.standard_normal((height, width))) * strength).real
    return (picture - picture.mean()) / picture.std()
