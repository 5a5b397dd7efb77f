"""Local attention as segment attention: a window is a segment.

Time is causal by chunks: a token sees the latent frames of its own chunk and of the one before.
That takes two calls of segment attention, one for the queries of even chunks and one for those of
odd chunks. In each call every query chunk has a range of keys of its own, so no keys are copied.
In space a large frame may be cut into square windows, shifted by half a window in every second
layer (Swin, arXiv:2103.14030).
"""

import jax
import jax.numpy as jnp

from videodit.nn.segments import NOBODY, Segments


def chunk_of(frames: jax.Array, size: int) -> jax.Array:
    """The chunk of each latent frame: the first frame is chunk 0, then `size` frames each."""
    return (frames + size - 1) // size


def window_ids(
    rows: jax.Array, columns: jax.Array, whole: jax.Array, side: int, shifted: bool
) -> jax.Array:
    """The window of side x side cells that each cell is in: B L int32.

    rows, columns: B L, the place of a cell in its frame. whole: B L bool, cells of frames that are
    not cut into windows; they get 0.
    """
    offset = side // 2 if shifted else 0
    row, column = ((x.astype(jnp.int32) + offset) // side for x in (rows, columns))
    return jnp.where(whole, 0, join(row, column))


def causal_chunk_segments(
    segment_ids: jax.Array, chunks: jax.Array, windows: jax.Array
) -> Segments:
    """Segments of two calls: attention to the own chunk and the one before, in the same window.

    All arguments B L int32, not negative. Where chunks rise along a row, so do the ids.
    """
    owners = [join(segment_ids, (chunks + 1 - parity) // 2 + parity) for parity in (0, 1)]
    keys = [join(owner, windows) for owner in owners]
    queries = [jnp.where(chunks % 2 == parity, key, NOBODY) for parity, key in enumerate(keys)]
    return Segments(jnp.stack(queries, axis=-1), jnp.stack(keys, axis=-1))


def join(a: jax.Array, b: jax.Array) -> jax.Array:
    """Ids (B L int32, not negative) that are equal within a row where both a and b are."""
    return a * (b.max(axis=1, keepdims=True) + 1) + b
