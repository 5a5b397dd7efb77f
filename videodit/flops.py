"""Closed forms of how much arithmetic a model needs: two FLOPs for each multiply-add of a matmul.

Only the matmuls inside of stacks count, and in attention only the pairs of a query and a key that
it sees: the useful work, without what an implementation spends on padding or masked pairs.
Embeddings, heads, modulation (which is per clip) and the features of pictures are left out: a few
per cent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from videodit.config import AutoencoderConfig
from videodit.nn.block import StackShape

BACKWARD = 2  # times the forward pass: gradients of the inputs and of the kernels
# How often the backward pass computes the parts of a `Forward` again, by compute.remat
# (nn/block.py:REMAT).
RECOMPUTED = {
    "none": (0, 0),
    "products": (0, 0),
    "dots": (0, 1),
    "attention": (1, 0),
    "block": (1, 1),
}


class Clips(NamedTuple):
    """n clips as they lie in rows."""

    grids: np.ndarray  # n 3: latent frames, rows and columns of the whole clip
    tokens: np.ndarray  # n: vision tokens; all of the grid, or fewer where some were dropped
    text: np.ndarray  # n: text tokens

    @property
    def whole(self) -> "Clips":
        """The same clips with none of their tokens dropped."""
        return self._replace(tokens=np.prod(self.grids, axis=1))


@dataclass(frozen=True)
class Flops:
    """FLOPs of a part of a training step, on all devices together."""

    useful: float = 0.0  # what MFU counts
    computed: float = 0.0  # with recomputation for the backward pass: what HFU counts

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.useful + other.useful, self.computed + other.computed)

    def __mul__(self, times: float) -> "Flops":
        return Flops(times * self.useful, times * self.computed)


class Forward(NamedTuple):
    """FLOPs of a forward pass through a stack."""

    matmuls: float  # matmuls with kernels
    attention: float  # matmuls of queries with keys, and of weights with values

    def only(self) -> Flops:
        """Without a backward pass."""
        return Flops(sum(self), sum(self))

    def trained(self, remat: str, backward: float = BACKWARD) -> Flops:
        """With a backward pass of `backward` times the FLOPs, under this compute.remat."""
        again = sum(times * flops for times, flops in zip(RECOMPUTED[remat], self))
        useful = (1 + backward) * sum(self)
        return Flops(useful, useful + again)


class StackRun(NamedTuple):
    """The use of one stack of blocks in a training step, from which its FLOPs are counted."""

    shape: StackShape
    tokens: np.ndarray  # n: tokens of each clip
    pairs: np.ndarray  # n: pairs of a query and a key that it sees, in a layer, on average
    remat: str  # compute.remat
    text: np.ndarray | None = None  # n: text tokens that each token of a clip attends to
    text_width: int = 0
    times: float = 1.0  # passes through it, or stacks of this shape
    backward: float = BACKWARD  # FLOPs of the backward pass, times the forward pass; 0: none
    calls: int = 1  # calls of attention in a layer, which share out the queries

    @property
    def flops(self) -> Flops:
        """FLOPs of all passes."""
        forward = stack_flops(self.shape, self.tokens, self.pairs, self.text, self.text_width)
        once = forward.trained(self.remat, self.backward) if self.backward else forward.only()
        return once * self.times


def total_flops(runs: Iterable[StackRun]) -> Flops:
    """FLOPs of all stacks together."""
    return sum((run.flops for run in runs), Flops())


def stack_flops(
    shape: StackShape,
    tokens: np.ndarray,
    pairs: np.ndarray,
    text: np.ndarray | None = None,
    text_width: int = 0,
) -> Forward:
    """A forward pass of a stack over clips of `tokens` (n), of which `pairs` (n) see each other.

    pairs: in a layer, on average. Each token also sees the `text` tokens (n) of its clip; without
    `text` the blocks have no cross-attention.
    """
    tokens, pairs = np.asarray(tokens, np.float64), np.asarray(pairs, np.float64)
    inner = shape.heads * shape.head_size
    matmuls = shape.width * (4 * inner + 2 * shape.mlp) * tokens.sum()
    attended = 2 * inner * pairs.sum()
    if text is not None:
        text = np.asarray(text, np.float64)
        matmuls += 2 * shape.width * inner * tokens.sum() + 2 * text_width * inner * text.sum()
        attended += 2 * inner * (tokens * text).sum()
    return Forward(*(2.0 * shape.depth * x for x in (matmuls, attended)))


def coder_flops(shape: StackShape, cfg: AutoencoderConfig, clips: Clips) -> Forward:
    """A forward pass of one half of the autoencoder."""
    pairs = chunk_pairs(clips, cfg.chunk, cfg.window, shape.depth)
    return stack_flops(shape, clips.tokens, pairs)


def all_pairs(tokens: np.ndarray) -> np.ndarray:
    """Pairs (n) of clips of `tokens` (n), if all tokens of a clip see each other."""
    return np.square(np.asarray(tokens, np.float64))


def chunk_pairs(clips: Clips, chunk: int, window: int, depth: int) -> np.ndarray:
    """Pairs (n) of a layer of the autoencoder, the mean over `depth` layers (nn/windows.py).

    A token sees its own chunk of `chunk` latent frames and the one before; in frames of more than
    window^2 cells it sees only its window, which odd layers shift. Where tokens were dropped, it
    is the mean over all ways to drop as many.
    """
    frames, rows, columns = np.asarray(clips.grids).T
    even, odd = (
        _window_pairs(rows, side, offset) * _window_pairs(columns, side, offset)
        for side, offset in ((window, 0), (window, window // 2))
    )
    odd_layers = depth // 2 / depth
    in_frame = even + (odd - even) * odd_layers
    in_frame = np.where(rows * columns > window**2, in_frame, np.square(rows * columns))
    pairs, cells = _frame_pairs(frames, chunk) * in_frame, clips.whole.tokens
    # Pairs of two cells that both stay; and each token sees itself.
    tokens = np.asarray(clips.tokens, np.float64)
    share = tokens * (tokens - 1) / np.maximum(cells * (cells - 1), 1)
    return share * (pairs - cells) + tokens


def _window_pairs(cells: np.ndarray, side: int, offset: int) -> np.ndarray:
    """Pairs along one axis of `cells` (n), cut at side - offset, 2 side - offset, ..."""
    first = np.minimum(cells, side - offset)
    full, last = np.divmod(cells - first, side)
    return first**2 + full * side**2 + last**2


def _frame_pairs(frames: np.ndarray, chunk: int) -> np.ndarray:
    """Pairs of a latent frame and one that it sees: those of its own chunk and the one before.

    Chunks are of 1, `chunk`, ..., `chunk` and the rest of the frames.
    """
    full, last = np.divmod(frames - 1, chunk)
    own = 1 + full * chunk**2 + last**2
    between = np.where(full > 0, chunk + (full - 1) * chunk**2 + last * chunk, last)
    return own + between
