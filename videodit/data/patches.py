"""Clips of any size to spacetime patches and back.

A token is a patch of pt x ph x pw pixels and belongs to one cell of the latent grid. The first
latent frame stands for the first pixel frame alone, every later one for pt frames, so that an
image is a clip of one frame (MAGVIT-v2, arXiv:2310.05737; Sora's technical report, 2024).
"""

import math

import numpy as np

Size = tuple[int, int, int]  # frames, height, width: of a patch, of a grid in cells or of a clip


def grid(frames, height, width, patch: Size) -> Size:
    """Cells (t, h, w) of a clip: t = 1 + (frames - 1) / pt, every size rounded up to whole patches.

    Sizes may be ints or integer arrays of many clips.
    """
    pt, ph, pw = patch
    return 1 + -((1 - frames) // pt), -(-height // ph), -(-width // pw)


def patchify(frames: np.ndarray, patch: Size) -> np.ndarray:
    """Frames T H W C to tokens n P of the same dtype, ordered (t, h, w); P is (pt, ph, pw, C).

    The first frame is repeated in time to fill its patch; rows, columns and frames that are short
    of a whole patch are filled by repeating the last one.
    """
    (t, h, w), (pt, ph, pw), size = grid(*frames.shape[:3], patch), patch, frames.shape
    after = (t * pt - (pt - 1) - size[0], h * ph - size[1], w * pw - size[2])
    padding = ((pt - 1, after[0]), (0, after[1]), (0, after[2]), (0, 0))
    cells = np.pad(frames, padding, mode="edge").reshape(t, pt, h, ph, w, pw, size[3])
    return cells.transpose(0, 2, 4, 1, 3, 5, 6).reshape(t * h * w, -1)


def unpatchify(tokens: np.ndarray, grid: Size, patch: Size, size: Size) -> np.ndarray:
    """Tokens n P to frames T H W C of the same dtype, cropped to `size`: inverse of `patchify`."""
    (t, h, w), (pt, ph, pw), (frames, height, width) = grid, patch, size
    cells = tokens.reshape(t, h, w, pt, ph, pw, -1).transpose(0, 3, 1, 4, 2, 5, 6)
    video = cells.reshape(t * pt, h * ph, w * pw, -1)
    return video[pt - 1 : pt - 1 + frames, :height, :width]


def full_size(grid: Size, patch: Size) -> Size:
    """Frames, height and width in pixels of the largest clip with this grid."""
    (t, h, w), (pt, ph, pw) = grid, patch
    return 1 + (t - 1) * pt, h * ph, w * pw


def positions(grid: Size, fps: float, patch: Size) -> np.ndarray:
    """Position n 3 float32 of each token: t in seconds, h and w in patches.

    A cell's time is that of its last pixel frame: pt j / fps for latent frame j.
    """
    cells = np.indices(grid, dtype=np.float32).reshape(3, math.prod(grid)).T
    return np.ascontiguousarray(cells) * np.float32([patch[0] / fps, 1, 1])
