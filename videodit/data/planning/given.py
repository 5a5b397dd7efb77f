"""Modes: which latent cells of a clip are given to the model; it generates the others.

One model does text-to-video, animates an image, extends a clip, connects two clips and inpaints:
these differ only in this mask (Sora's technical report, 2024; MAGVIT, arXiv:2212.05199).
"""

from collections.abc import Callable

import numpy as np

from videodit.data.patches import Size

# (grid t h w, source of random numbers, the autoencoder's chunk in latent frames) -> mask t h w
Mode = Callable[[Size, np.random.Generator, int], np.ndarray]


def generate(grid: Size, rng: np.random.Generator, chunk: int) -> np.ndarray:
    """Nothing is given: bool mask t h w."""
    return np.zeros(grid, bool)


def animate(grid: Size, rng: np.random.Generator, chunk: int) -> np.ndarray:
    """The first latent frame is given: bool mask t h w."""
    return _frames(grid, slice(0, 1))


def extend(grid: Size, rng: np.random.Generator, chunk: int) -> np.ndarray:
    """About the first half of the latent frames is given, in whole chunks: bool mask t h w.

    A causal autoencoder's latents of a whole chunk do not depend on later frames. The first latent
    frame is a chunk of its own, and every `chunk` frames after it are one. With chunks of one frame
    the first half, rounded down, is given.
    """
    half = grid[0] // 2
    chunks = (half - 1 + chunk // 2) // chunk  # behind the first frame
    return _frames(grid, slice(0, 1 + chunks * chunk if half else 0))


def prepend(grid: Size, rng: np.random.Generator, chunk: int) -> np.ndarray:
    """The last half of the latent frames, rounded down, is given: bool mask t h w."""
    return _frames(grid, slice(grid[0] - grid[0] // 2, grid[0]))


def connect(grid: Size, rng: np.random.Generator, chunk: int) -> np.ndarray:
    """The first and the last latent frame are given: bool mask t h w."""
    return _frames(grid, [0, -1])


def inpaint(grid: Size, rng: np.random.Generator, chunk: int) -> np.ndarray:
    """All but a box is given; the box has half to all of each axis: bool mask t h w."""
    mask = np.ones(grid, bool)
    sizes = [int(rng.integers((n + 1) // 2, n + 1)) for n in grid]
    starts = [int(rng.integers(0, n - size + 1)) for n, size in zip(grid, sizes)]
    mask[tuple(slice(start, start + size) for start, size in zip(starts, sizes))] = False
    return mask


# A mode's id is its place in this table; the names are the fields of config.ModeWeights.
MODES: dict[str, Mode] = {
    function.__name__: function
    for function in (generate, animate, extend, prepend, connect, inpaint)
}


def choose_mode(
    mode_id: int, grid: Size, rng: np.random.Generator, chunk: int = 1
) -> tuple[int, np.ndarray]:
    """The id of the mode that is used, and its mask t h w bool of given cells.

    A mode that would give all or nothing of this grid becomes `generate`: on an image, every mode
    that is about time. `chunk` is the autoencoder's, in latent frames.
    """
    mask = list(MODES.values())[mode_id](grid, rng, chunk)
    return (0, np.zeros(grid, bool)) if mask.all() or not mask.any() else (mode_id, mask)


def _frames(grid: Size, which: slice | list[int]) -> np.ndarray:
    mask = np.zeros(grid, bool)
    mask[which] = True
    return mask
