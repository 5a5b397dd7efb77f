"""Clips of worlds that several tests look at: each is made once in a process."""

import functools

from videodit.worlds.world import Clip, Shape, open_world

SHAPE = Shape(width=96, height=64, frames=9, fps=8.0)


@functools.cache
def made(world: str, seed: int, shape: Shape = SHAPE, combinations: str = "seen") -> Clip:
    """The clip of the world of that name; its frames cannot be written to."""
    clip = open_world(world).make(seed, shape, combinations)
    clip.frames.flags.writeable = False
    return clip
