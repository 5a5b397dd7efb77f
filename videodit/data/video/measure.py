"""Measures how much moves in a clip: two numbers, for data.where and for planning dropped tokens.

Both are measured at the clip's own frame rate on a bounded number of small frames: up to STRETCHES
evenly spread stretches of STRETCH consecutive frames, scaled down to about SIDE x SIDE pixels. A
block of BLOCK x BLOCK pixels then stands for a patch of the full picture.

motion: mean absolute difference of neighbouring frames over all pixels and colours, 0..1.
static: share of the blocks that repeat the previous frame. A block does if the mean absolute
    difference of its pixels is at most STILL levels of 255, which compression alone can change.

An image has motion 0 and static 0: nothing moves, and no earlier frame can be repeated.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from videodit.data.video.files import View

STRETCHES, STRETCH = 4, 5
SIDE = 128  # pixels
BLOCK = 8  # pixels
STILL = 2.0  # levels of 255


class Measured(NamedTuple):
    """The two numbers; the head of this file defines them."""

    motion: float
    static: float


def stretches(frames: int, height: int, width: int) -> list[View]:
    """The views of a clip of (frames, height, width) that `measure` needs."""
    scale = min(1.0, SIDE / math.sqrt(height * width))
    # Whole blocks; a picture that is smaller than a block keeps its size.
    height, width = (
        size // BLOCK * BLOCK or size
        for size in (max(1, round(height * scale)), max(1, round(width * scale)))
    )
    if frames <= STRETCHES * STRETCH:
        return [View(0, 1, frames, height, width)]
    starts = np.linspace(0, frames - STRETCH, STRETCHES).astype(int).tolist()
    return [View(start, 1, STRETCH, height, width) for start in starts]


def measure(clips: Iterable[np.ndarray]) -> Measured:
    """Motion and share of static blocks over all stretches: uint8 T H W 3, all of one size."""
    changes = np.concatenate([_changes(frames) for frames in clips])
    if not len(changes):
        return Measured(0.0, 0.0)
    return Measured(float(changes.mean() / 255), float((changes <= STILL).mean()))


def _changes(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference, in levels, of each block to the frame before: float32 T-1 h w."""
    steps, (height, width) = len(frames) - 1, frames.shape[1:3]
    down, across = min(BLOCK, height), min(BLOCK, width)
    difference = np.abs(np.diff(frames.astype(np.int16), axis=0))
    blocks = difference.reshape(steps, height // down, down, width // across, across, 3)
    return blocks.mean((2, 4, 5), dtype=np.float32)
