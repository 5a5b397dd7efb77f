"""Chooses the tokens of a clip that stay when the plan gives it fewer than all of them.

Tokens are dropped at random as in NaViT (arXiv:2307.06304). Patches that repeat the previous ones
are dropped as in run-length tokenization (arXiv:2411.05222), but a planned number of them instead
of all below a threshold.
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
    """A mask n bool, ordered (t, h, w), of the `keep` tokens that stay.

    frames: T H W C uint8, in n patches. given: n bool or t h w bool, the tokens given to the model.
    At most `drop_static` tokens are dropped because they have the least `change` (ties are broken
    at random); tokens of the first latent frame are never among these. All others are dropped at
    random. At least one token that is not given stays, so that there is something to generate.
    Raises ValueError if `keep` is not in 1 .. n.
    """
    size = patches.grid_of(frames, patch)
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

    frames: T H W C uint8. Returns t-1 h w float64 in levels of 0 .. 255; the mean is over the
    pixels that exist.
    """
    (t, h, w), pt = patches.grid_of(frames, patch), patch[0]
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
    """h w: sums of values T H W C over all frames and channels and cells of ph x pw pixels."""
    depth, height, width, channels = values.shape
    values = np.pad(values, ((0, 0), (0, -height % ph), (0, -width % pw), (0, 0)))
    bands = values.reshape(depth, -(-height // ph), ph, -1).sum(2, dtype=np.uint32).sum(0)
    return bands.reshape(len(bands), -1, pw * channels).sum(-1)


def _lengths(total: int, step: int) -> np.ndarray:
    """Lengths of the parts when 0 .. total is cut at every multiple of `step`."""
    return np.minimum(step, total - np.arange(0, total, step))
