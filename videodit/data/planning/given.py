"""Modes of given tokens: which latent cells of a clip are given, the others being generated.

Text-to-video, animating an image, extending a clip, connecting two and inpainting are one model's
work and differ only in this mask (Sora's technical report, 2024; MAGVIT, arXiv:2212.05199).
"""

import numpy as np

from videodit.data.patches import Size


def generate(grid: Size, rng: np.random.Generator, chunk: int) -> np.ndarray:
    """Nothing is given: bool mask t h w."""
    return np.zeros(grid, bool)


def animate(grid: Size, rng: np.random.Generator, chunk: int) -> np.ndarray:
    """The first latent frame is given: bool mask t h w."""
    return _frames(grid, slice(0, 1))


def extend(grid: Size, rng: np.random.Generator, chunk: int) -> np.ndarray:
    """About the first half of the latent frames is given, in whole chunks: bool mask t h w.

    A causal autoencoder's latents of whole chunks know nothing of what comes later. The first frame
    is a chunk, as is every `chunk` frames after it; chunks of one frame give the half rounded down.
    """
    half = grid[0] // 2
    chunks = (half - 1 + chunk // 2) // chunk  # behind the first frame
    return _frames(grid, slice(0, 1 + chunks * chunk if half else 0))


def prepend(grid: Size, rng: np.random.Generator, chunk: int) -> np.ndarray:
    """The last half of the latent frames is given (rounded down): bool mask t h w."""
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
MODES = {
    function.__name__: function
    for function in (generate, animate, extend, prepend, connect, inpaint)
}


def draw_mode(
    mode_id: int, grid: Size, rng: np.random.Generator, chunk: int = 1
) -> tuple[int, np.ndarray]:
    """The mode's id and its mask t h w bool of given cells. `chunk`: the autoencoder's.

    A mode that would give all or nothing of this grid (any of time on an image) becomes `generate`.
    """
    mask = list(MODES.values())[mode_id](grid, rng, chunk)
    return (0, np.zeros(grid, bool)) if mask.all() or not mask.any() else (mode_id, mask)


def _frames(grid: Size, which) -> np.ndarray:
    mask = np.zeros(grid, bool)
    mask[which] = True
    return mask
