"""Clips of any size to spacetime patches and back.

A token is a patch of pt x ph x pw pixels and belongs to one cell of the latent grid. The first
latent frame stands for the first pixel frame alone, every later one for pt frames, so that an
image is a clip of one frame (MAGVIT-v2, arXiv:2310.05737; Sora's technical report, 2024).
"""

import math
from typing import Any

import numpy as np

# Frames, height and width: pixels of a clip or a patch, or cells of a grid.
Size = tuple[int, int, int]
Counts = int | np.ndarray  # of one clip, or of each of many: n int


def grid(frames: Counts, height: Counts, width: Counts, patch: Size) -> tuple[Any, Any, Any]:
    """Cells (t, h, w) of a clip: t = 1 + (frames - 1) / pt, every size rounded up to whole patches.

    Sizes are ints, which give a Size, or integer arrays of many clips, which give arrays.
    """
    pt, ph, pw = patch
    return 1 + -((1 - frames) // pt), -(-height // ph), -(-width // pw)


def grid_of(frames: np.ndarray, patch: Size) -> Size:
    """Cells (t, h, w) of a clip of frames T H W C."""
    count, height, width, _ = frames.shape
    return grid(count, height, width, patch)


def patchify(frames: np.ndarray, patch: Size, out: np.ndarray | None = None) -> np.ndarray:
    """Frames T H W C to tokens n P of the same dtype, ordered (t, h, w); P is (pt, ph, pw, C).

    The first frame is repeated in time to fill its patch; where rows, columns or frames fall short
    of a whole patch, the last one is repeated. The tokens are written to `out`, contiguous, if it
    is given.
    """
    (t, h, w), (pt, ph, pw) = grid_of(frames, patch), patch
    height, width, channels = frames.shape[1:]
    if out is None:
        out = np.empty((t * h * w, pt * ph * pw * channels), frames.dtype)
    cells = out.reshape(t, h, w, pt, ph, pw, channels)
    rows, columns = height // ph, width // pw  # of whole cells
    y, x, below, right = rows * ph, columns * pw, -height % ph, -width % pw
    _fill(cells[:, :rows, :columns], frames[:, :y, :x])
    if below:
        _fill(cells[:, rows:], _repeat_edge(frames[:, y:], below, right))
    if right:
        _fill(cells[:, :rows, columns:], _repeat_edge(frames[:, :y, x:], 0, right))
    return out


def unpatchify(tokens: np.ndarray, grid: Size, patch: Size, size: Size) -> np.ndarray:
    """Tokens n P to frames T H W C of the same dtype, cropped to `size`: inverse of `patchify`."""
    (t, h, w), (pt, ph, pw), (frames, height, width) = grid, patch, size
    cells = tokens.reshape(t, h, w, pt, ph, pw, -1).transpose(0, 3, 1, 4, 2, 5, 6)
    video = cells.reshape(t * pt, h * ph, w * pw, -1)
    return video[pt - 1 : pt - 1 + frames, :height, :width]


def full_size(grid: Size, patch: Size) -> Size:
    """Frames, height and width in pixels of the largest clip that has this grid."""
    (t, h, w), (pt, ph, pw) = grid, patch
    return 1 + (t - 1) * pt, h * ph, w * pw


def cells_of(frames: np.ndarray, patch: Size, *, first: bool) -> np.ndarray:
    """The cells t h w P of frames T H W 3 that are a part of a clip; its beginning if `first`.

    A part that is not `first` begins with a latent frame's first pixel frame.
    """
    T, H, W, _ = frames.shape
    _, h, w = grid(T, H, W, patch)
    if not first:  # only a clip's own first frame is a latent frame alone
        frames = np.concatenate([frames[:1], frames])
    cells = patchify(frames, patch).reshape(-1, h, w, 3 * math.prod(patch))
    return cells if first else cells[1:]


def frames_of(cells: np.ndarray, patch: Size, *, first: bool) -> np.ndarray:
    """The inverse of `cells_of`: whole frames T H W 3 of cells t h w P.

    Cells that are `first` have one latent frame, which gives one frame.
    """
    t, h, w, _ = cells.shape
    size = (t * patch[0], h * patch[1], w * patch[2])
    video = cells.reshape(t, h, w, *patch, 3).transpose(0, 3, 1, 4, 2, 5, 6).reshape(*size, 3)
    return video[-1:] if first else video


def positions(grid: Size, fps: float, patch: Size) -> np.ndarray:
    """Position n 3 float32 of each token: t in seconds, h and w in patches.

    A cell's time is that of its last pixel frame: pt j / fps for latent frame j.
    """
    cells = np.indices(grid, dtype=np.float32).reshape(3, math.prod(grid)).T
    return np.ascontiguousarray(cells) * np.array([patch[0] / fps, 1, 1], np.float32)


def cells_at(positions: np.ndarray, grid: Size, fps: float, patch: Size) -> np.ndarray:
    """The inverse of `positions`: n int64, the place of each token in the grid's order t h w.

    positions: n 3 float32.
    """
    cells = np.rint(positions * np.array([fps / patch[0], 1, 1], np.float32)).astype(int)
    return np.ravel_multi_index(tuple(cells.T), grid)


def _fill(cells: np.ndarray, frames: np.ndarray) -> None:
    """Writes frames T H W C, of whole patches in height and width, to cells t h w pt ph pw C."""
    _, h, w, pt, ph, pw, channels = cells.shape
    target = _runs(cells).transpose(0, 3, 1, 2, 4)
    source = _runs(frames.reshape(len(frames), h, ph, w, pw, channels)).transpose(0, 1, 3, 2)
    target[0] = source[0]
    whole = (len(frames) - 1) // pt
    middle, rest = source[1 : 1 + whole * pt], source[1 + whole * pt :]
    target[1 : 1 + whole] = middle.reshape(whole, pt, *middle.shape[1:])
    if len(rest):
        target[-1, : len(rest)], target[-1, len(rest) :] = rest, rest[-1]


def _runs(values: np.ndarray) -> np.ndarray:
    """The last two axes (a row of a patch) as one item, which numpy copies twice as fast."""
    *axes, pixels, channels = values.shape
    runs = values.reshape(*axes, pixels * channels)
    if runs.strides[-1] != runs.itemsize:  # mirrored or turned frames
        runs = np.ascontiguousarray(runs)
    return runs.view(f"V{runs.shape[-1] * runs.itemsize}")[..., 0]


def _repeat_edge(frames: np.ndarray, below: int, right: int) -> np.ndarray:
    return np.pad(frames, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge")
