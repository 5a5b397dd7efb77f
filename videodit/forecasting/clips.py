"""The clips that the forecast assumes in a row, as it reads no data: all of one typical size."""

import math

import numpy as np

from videodit.config import Config
from videodit.flops import Clips, StackRun
from videodit.forecasting.work import Seen
from videodit.nn.plain_attention import key_block, query_block
from videodit.nn.splash import block_size

TILE = 128  # tokens of one clip that cuDNN takes at a time
# Assumed where data.views is empty:
SHARE = 8  # a clip fills an eighth of its row
SIDE = 16  # cells along each side of a frame
FPS = 24.0


def typical_clips(cfg: Config, clip_tokens: int = 0) -> Clips:
    """The clips of a row, as many as fit into it.

    They are square, of the mean size in the last rows of data.views, else an eighth of a row.
    clip_tokens: instead, they are as long as it takes to have about this many tokens. The captions
    share out the text row evenly.
    """
    side, frames = _mean_size(cfg)
    wanted = clip_tokens or (0 if frames else cfg.data.row_tokens // SHARE)
    if wanted:
        side = min(side or SIDE, math.isqrt(wanted))
        frames = wanted / side**2
    grid = (max(round(frames), 1), side, side)
    count = max(min(cfg.data.row_tokens // math.prod(grid), cfg.data.max_segments), 1)
    return Clips(
        grids=np.tile(grid, (count, 1)),
        tokens=np.full(count, min(math.prod(grid), cfg.data.row_tokens)),
        text=np.full(count, cfg.data.text_tokens // count),
    )


def _mean_size(cfg: Config) -> tuple[int, float]:
    """Cells along a side, and latent frames, of the mean clip; 0 where data.views does not say."""
    views, (frames, height, width) = cfg.data.views, cfg.autoencoder.patch
    if not views.sides:
        return 0, 0.0
    _, low, high = views.sides[-1]
    area = (low**2 + low * high + high**2) / 3  # the mean of a square
    side = max(round(math.sqrt(area / (height * width))), 1)
    if not views.seconds:
        return side, 0.0
    rates = views.rates[-1][1:] if views.rates else (FPS,)
    return side, float(1 + np.mean(views.seconds[-1][1:]) * np.mean(rates) / frames)


def seen_shares(cfg: Config, stack: StackRun, platform: str) -> Seen:
    """The work that a platform's kernel does not skip in rows full of the clips of `stack`.

    stack: the one with most of the work; attention in other stacks is assumed to be like it. Blocks
    of the row, or of its parts along `ring`, as splash on a "tpu" has them, begin anywhere in a
    clip.
    """
    row, tokens = cfg.data.row_tokens, stack.tokens.astype(float)
    full = row / tokens.sum()  # rows of it
    keys = stack.pairs / tokens
    part = row // cfg.mesh.ring
    touched = lambda queries_of, keys_of: (tokens + queries_of) * (keys + keys_of)
    tiles = np.ceil(tokens / TILE) * np.ceil(keys / TILE) * TILE**2
    if platform == "tpu":
        tiles = touched(block_size(part), block_size(part))
    tiles /= stack.calls  # the calls share out the queries; each is taken to have all pairs
    blocks = touched(query_block(part), key_block(part))
    return Seen(*(min(full * float(x.sum()) / row**2, 1.0) for x in (tiles, blocks)))
