"""Local attention as segment attention: a window is a segment.

Time is causal by chunks: a token sees the latent frames of its own chunk and of the one before.
That is two calls of segment attention, one for the queries of even chunks and one for those of
odd chunks: in each call every query chunk has a range of keys of its own, so nothing is gathered.
In space a large frame may be cut into square windows, shifted by half a window in every second
layer (Swin, arXiv:2103.14030).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from videodit.nn.segments import NOBODY, Order, sorted_order


class Ids(NamedTuple):
    """Segment ids of one layer: B L C and B S C int32, see nn/attention.py."""

    query: jax.Array
    key: jax.Array
    orders: tuple[Order, Order] | None = None  # of queries and keys, in which ids are contiguous


def chunk_of(frames, size: int):
    """The chunk of each latent frame: the first frame is chunk 0, then `size` frames each."""
    return (frames + size - 1) // size


def window_ids(rows, columns, whole, side: int, shifted: bool):
    """Which window of side x side cells a cell is in, B L int32; 0 where `whole` (B L bool) is.

    rows, columns: B L, the place of a cell in its frame.
    """
    offset = side // 2 if shifted else 0
    row, column = ((x.astype(jnp.int32) + offset) // side for x in (rows, columns))
    return jnp.where(whole, 0, join(row, column))


def causal_chunk_ids(segment_ids, chunks, windows) -> Ids:
    """Ids (C = 2 calls) of attention to the own chunk and the one before, in the same window.

    All arguments B L int32, not negative. Where chunks rise along a row, so do the ids.
    """
    owners = [join(segment_ids, (chunks + 1 - parity) // 2 + parity) for parity in (0, 1)]
    keys = [join(owner, windows) for owner in owners]
    queries = [jnp.where(chunks % 2 == parity, key, NOBODY) for parity, key in enumerate(keys)]
    return Ids(jnp.stack(queries, axis=-1), jnp.stack(keys, axis=-1))


def with_orders(ids: Ids) -> Ids:
    """`ids` with the orders in which the tokens of a window are contiguous along the row.

    Windows of a frame are not, in the order of its rows: attention would have to look at all
    windows that a row of cells crosses.
    """
    query, key = (x if x.ndim == 3 else x[..., None] for x in (ids.query, ids.key))
    of_keys = sorted_order(key)
    of_queries = of_keys if query.shape == key.shape else sorted_order(query)
    return ids._replace(orders=(of_queries, of_keys))


def join(a, b):
    """Ids (B L int32, not negative) that are equal within a row where both a and b are."""
    return a * (b.max(axis=1, keepdims=True) + 1) + b
