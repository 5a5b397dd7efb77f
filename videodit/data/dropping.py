"""Which tokens of a clip stay when the plan lets fewer than all of them into a row.

Random dropping is that of NaViT (arXiv:2307.06304). Dropping patches that repeat the previous ones
is that of run-length tokenization (arXiv:2411.05222), but of a planned number, not by a threshold.
"""

import math

import numpy as np

from videodit.data import patches
from videodit.data.patches import Size


def choose(
    frames: np.ndarray,
    patch: Size,
    *,
    keep: int,
    drop_static: int,
    given: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Which `keep` of the n tokens of frames T H W C uint8 stay: n bool, ordered (t, h, w).

    At most `drop_static` tokens go because they have the least `change`, ties broken at random;
    those of the first latent frame never do. The others go at random. One of those that are not
    `given` (t h w bool) stays, so that there is something to generate. Raises ValueError for a
    `keep` that is not 1 .. n.
    """
    size = patches.grid(*frames.shape[:3], patch)
    n, per_frame = math.prod(size), math.prod(size[1:])
    if not 1 <= keep <= n:
        raise ValueError(f"keep={keep} of {n} tokens")
    noise, given = rng.random(n), given.reshape(-1)
    static = np.zeros(n, bool)
    if drop_static and keep < n:
        order = np.lexsort((noise[per_frame:], change(frames, patch).ravel()))
        static[per_frame + order[: min(drop_static, n - keep)]] = True
    order = np.lexsort((noise, ~static))  # the first go first
    kept = np.ones(n, bool)
    kept[order[: n - keep]] = False
    if not (kept & ~given).any() and not given.all():
        kept[order[n - keep]] = False
        kept[order[~given[order]][-1]] = True
    return kept


def change(frames: np.ndarray, patch: Size) -> np.ndarray:
    """Mean absolute difference of each patch to the same cell one latent frame before.

    Of frames T H W C uint8: t-1 h w float64, in levels of 0 .. 255, over the pixels that exist.
    """
    (t, h, w), pt = patches.grid(*frames.shape[:3], patch), patch[0]
    sums = np.zeros((t - 1, h, w))
    for j in range(t - 1):  # small enough to stay in the processor's cache
        later = frames[1 + j * pt :][:pt]
        earlier = frames[1 + (j - 1) * pt :][: len(later)] if j else frames[:1]
        difference = np.maximum(later, earlier) - np.minimum(later, earlier)
        sums[j] = _cell_sums(difference, *patch[1:])
    _, height, width, channels = frames.shape
    depths, heights, widths = map(_lengths, (len(frames) - 1, height, width), patch)
    return sums / (channels * depths[:, None, None] * heights[:, None] * widths)


def _cell_sums(values: np.ndarray, ph: int, pw: int) -> np.ndarray:
    """Sums h w over cells of ph x pw pixels, all frames and channels, of values T H W C."""
    depth, height, width, channels = values.shape
    values = np.pad(values, ((0, 0), (0, -height % ph), (0, -width % pw), (0, 0)))
    bands = values.reshape(depth, -(-height // ph), ph, -1).sum(2, dtype=np.uint32).sum(0)
    return bands.reshape(len(bands), -1, pw * channels).sum(-1)


def _lengths(total: int, step: int) -> np.ndarray:
    """Lengths of the parts of 0 .. total cut at every multiple of `step`."""
    return np.minimum(step, total - np.arange(0, total, step))
