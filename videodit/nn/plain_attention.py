"""Segment attention in plain JAX: all logits at once, and in blocks of queries and keys."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from videodit.nn.ring import Ahead, Pieces
from videodit.nn.segments import NO_KEY, NOBODY, Segments

NEVER = -1e30  # a logit: finite, so that nothing is NaN where there is no key
BLOCK = 32  # queries or keys whose logits exist at one time in `blocked_attention`, at least
MOST_BLOCKS = 128  # of a row: a longer one has larger blocks, not more turns of a loop
KEY_BLOCK = 512  # of a long row: fewer turns, as most of its segments are long
FIRST, LAST = jnp.iinfo(jnp.int32).min, jnp.iinfo(jnp.int32).max


class _Tokens(NamedTuple):
    """What decides whether a query sees a key: the ids of both, and their places if causal."""

    ids: jax.Array  # B L C int32
    places: jax.Array | None  # 1 L int32


def masked_attention(q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments) -> jax.Array:
    """The reference: every logit at once, B N L S of memory. All calls share one softmax.

    Arguments and result as nn/attention.py:attention, on one device.
    """
    q, k = (jnp.moveaxis(x, 1, 2) for x in (q, k))
    logits, mask = _logits(q, k, *_tokens(segments, _ahead(segments)))
    weights = jnp.where(mask, jax.nn.softmax(logits, axis=-1), 0).astype(v.dtype)
    return jnp.einsum("bnls,bsnh->blnh", weights, v)


@jax.custom_vjp
def blocked_attention(q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments) -> jax.Array:
    """The same in blocks of queries and keys (arXiv:2205.14135): no L x S memory.

    Blocks in which no query sees a key are skipped, going by the least and the greatest id of each,
    and by the first and the last place if segments are causal. Where ids rise along the row, the
    cost grows with what is seen and not with L x S.
    """
    return _blocked_forward(q, k, v, segments)[0]


def _blocked_forward(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments
) -> tuple[jax.Array, Any]:
    sums = blocked_sums(q, k, v, segments, _ahead(segments), v.dtype)
    y, log = (checkpoint_name(x, "attention") for x in sums)  # nn/block.py:REMAT
    return y, (q, k, v, segments, y, log)


def _blocked_backward(saved: Any, gradient: jax.Array) -> tuple[Any, ...]:
    q, k, v, segments, y, log = saved
    gradients = blocked_gradients(q, k, v, segments, _ahead(segments), y, log, gradient)
    return *(dx.astype(x.dtype) for dx, x in zip(gradients, saved)), None


blocked_attention.defvjp(_blocked_forward, _blocked_backward)


def blocked_sums(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segments: Segments,
    ahead: Ahead,
    dtype: Any = jnp.float32,
) -> tuple[jax.Array, jax.Array]:
    """Means B L N H of the values in `dtype`, and log-sum-exp B L N float32 of the logits.

    ahead: see nn/ring.py:Pieces.
    """
    # The masks of all blocks follow from the ids alone. Without the barrier they would be made
    # before a scan over layers and kept for its backward pass: L x S memory.
    q, query, key = jax.lax.optimization_barrier((q, segments.query, segments.keys))
    queries, keys = _blocks(q, k, v, _tokens_of(query, key, ahead, segments.causal))

    def one_block(block: Any) -> tuple[jax.Array, jax.Array]:
        q, tokens = block
        zero = 0 * q.astype(jnp.float32)  # and not zeros: on a mesh it varies as q does
        first = _Softmax(NEVER + zero[..., 0], zero[..., 0], zero)

        def add(sums: _Softmax, j: jax.Array) -> _Softmax:
            return sums.add(q, tokens, *_block(keys, j))

        seen = jax.vmap(lambda block: _overlap(tokens, block))(keys[-1])
        sums = _sum_over_seen(seen, first, add)
        return sums.mean().astype(dtype), sums.log()

    y, log = jax.lax.map(one_block, queries)
    return _joined(y, q.shape[1]), _joined(log[..., None], q.shape[1])[..., 0]


def blocked_gradients(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segments: Segments,
    ahead: Ahead,
    y: jax.Array,
    log: jax.Array,
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients float32 at q, k and v of attention whose output is y; log as of `blocked_sums`."""
    delta = (gradient.astype(jnp.float32) * y).sum(-1)
    size, scale = query_block(q.shape[1]), q.shape[-1] ** -0.5
    further = (_split(x, size) for x in (gradient, log[..., None], delta[..., None]))
    queries, keys = _blocks(q, k, v, _tokens(segments, ahead))
    queries = (*queries, *further)

    def of_keys(dq: jax.Array, key: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """Adds what a block of keys has to do with dq, all blocks; gradients of the block."""
        k, v, key_tokens = key

        def pair(j: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            """What a block of queries adds to its own gradient, and to those of k and v."""
            q, tokens, gradient, log, delta = _block(queries, j)
            logits, mask = _logits(q, k, tokens, key_tokens)
            weights = jnp.where(mask, jnp.exp(logits - log), 0)
            slopes = _product("bnlh,bnsh->bnls", gradient, v)
            slopes = weights * (slopes - delta)
            return (
                _product("bnls,bnsh->bnlh", slopes, k.astype(jnp.float32)),
                _product("bnls,bnlh->bnsh", slopes, q.astype(jnp.float32)),
                _product("bnls,bnlh->bnsh", weights, gradient.astype(jnp.float32)),
            )

        nothing = tuple(0 * x.astype(jnp.float32) for x in (queries[0][0], k, v))
        seen = jax.vmap(lambda block: _overlap(block, key_tokens))(queries[1])

        def add(totals: Any, j: jax.Array) -> Any:
            dq, dk, dv = totals
            # Only of blocks: what a condition gives is copied.
            more = jax.lax.cond(seen[j], pair, lambda j: nothing, j)
            dq = jax.lax.dynamic_update_index_in_dim(dq, dq[j] + more[0], j, 0)
            return dq, dk + more[1], dv + more[2]

        dq, dk, dv = _over_seen(seen, (dq, *nothing[1:]), add)
        return dq, (dk, dv)

    dq, (dk, dv) = jax.lax.scan(of_keys, 0 * queries[0].astype(jnp.float32), keys)
    return (
        scale * _joined(dq, q.shape[1]),
        scale * _joined(dk, k.shape[1]),
        _joined(dv, k.shape[1]),
    )


class _Softmax(NamedTuple):
    """The greatest logit, the sum of weights and the weighted sum of values of the keys so far."""

    greatest: jax.Array  # B N L
    weights: jax.Array  # B N L
    values: jax.Array  # B N L H

    def add(
        self, q: jax.Array, queries: _Tokens, k: jax.Array, v: jax.Array, keys: _Tokens
    ) -> "_Softmax":
        """The same with one more block of keys."""
        logits, mask = _logits(q, k, queries, keys)
        greatest = jnp.maximum(self.greatest, logits.max(-1))
        old = jnp.exp(self.greatest - greatest)
        weights = jnp.where(mask, jnp.exp(logits - greatest[..., None]), 0)
        values = _product("bnls,bnsh->bnlh", weights.astype(v.dtype), v)
        return _Softmax(
            greatest,
            old * self.weights + weights.sum(-1),
            old[..., None] * self.values + values,
        )

    def mean(self) -> jax.Array:
        """The attention's output, float32; 0 where there was no key."""
        return self.values / jnp.where(self.weights > 0, self.weights, 1)[..., None]

    def log(self) -> jax.Array:
        """Logarithm of the sum of the exponentials of the logits."""
        return self.greatest + jnp.log(jnp.where(self.weights > 0, self.weights, 1))


def _sum_over_seen(seen: jax.Array, total: Any, add: Callable) -> Any:
    """add(total, j) for each block j that is `seen` (bool), one after the other."""

    def step(total: Any, j: jax.Array) -> Any:
        return jax.lax.cond(seen[j], lambda t: add(t, j), lambda t: t, total)

    return _over_seen(seen, total, step)


def _over_seen(seen: jax.Array, total: Any, add: Callable) -> Any:
    """add(total, j) for each block from the first to the last that is `seen`."""
    first, end = jnp.argmax(seen), len(seen) - jnp.argmax(seen[::-1])
    end = jnp.where(seen.any(), end, first)
    return jax.lax.fori_loop(first, end, lambda j, total: add(total, j), total)


def _block(blocks: Any, j: jax.Array) -> Any:
    return jax.tree.map(lambda x: x[j], blocks)


def _product(subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(subscripts, a, b, preferred_element_type=jnp.float32)


def query_block(length: int) -> int:
    """Queries of a block of a row."""
    return max(BLOCK, -(-length // MOST_BLOCKS))


def key_block(length: int) -> int:
    """Keys of a block of a row."""
    size = max(query_block(length), min(KEY_BLOCK, 4 * length // MOST_BLOCKS))
    return min(size, length)


def _ahead(segments: Segments) -> int:
    """See nn/ring.py:Pieces; of queries that are the last of the keys' tokens."""
    return segments.keys.shape[1] - segments.query.shape[1]


def _tokens(segments: Segments, ahead: Ahead) -> tuple[_Tokens, _Tokens]:
    return _tokens_of(segments.query, segments.keys, ahead, segments.causal)


def _tokens_of(
    query: jax.Array, key: jax.Array, ahead: Ahead, causal: bool
) -> tuple[_Tokens, _Tokens]:
    """The queries and the keys of ids B L C and B S C."""
    if not causal:
        return _Tokens(query, None), _Tokens(key, None)
    places = lambda ids: jnp.arange(ids.shape[1], dtype=jnp.int32)[None]
    return _Tokens(query, places(query) + ahead), _Tokens(key, places(key))


def _blocks(
    q: jax.Array, k: jax.Array, v: jax.Array, tokens: tuple[_Tokens, _Tokens]
) -> tuple[Any, Any]:
    """(q, its tokens) and (k, v, their tokens) in blocks."""
    queries, keys = tokens
    size, key_size = query_block(q.shape[1]), key_block(k.shape[1])
    return (
        (_split(q, size), _split_tokens(queries, size, NOBODY, FIRST)),
        (
            _split(k, key_size),
            _split(v, key_size),
            _split_tokens(keys, key_size, NO_KEY, LAST),
        ),
    )


def _split_tokens(tokens: _Tokens, size: int, fill: int, place: int) -> _Tokens:
    places = None if tokens.places is None else _cut(tokens.places, size, place)
    return _Tokens(_cut(tokens.ids, size, fill), places)


def _logits(
    q: jax.Array, k: jax.Array, queries: _Tokens, keys: _Tokens
) -> tuple[jax.Array, jax.Array]:
    """Logits B N L S float32, NEVER where a query does not see a key, and whether it does.

    q: B N L H, k: B N S H.
    """
    mask = (queries.ids[:, None, :, None] == keys.ids[:, None, None]).any(-1)
    if queries.places is not None and keys.places is not None:
        mask &= queries.places[:, None, :, None] >= keys.places[:, None, None]
    return jnp.where(mask, _product("bnlh,bnsh->bnls", q, k) * q.shape[-1] ** -0.5, NEVER), mask


def _split(x: jax.Array, size: int) -> jax.Array:
    """B L N ... -> blocks B N size ..., the last of them filled up with zeros."""
    return jnp.moveaxis(_cut(x, size, 0), 2, 3)


def _cut(x: jax.Array, size: int, fill: int) -> jax.Array:
    """B L ... -> blocks B size ..., the last of them filled up."""
    widths = [(0, 0), (0, -x.shape[1] % size)] + [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, widths, constant_values=fill)
    return jnp.moveaxis(x.reshape(x.shape[0], -1, size, *x.shape[2:]), 1, 0)


def _joined(blocks: jax.Array, length: int) -> jax.Array:
    """The inverse of `_split`: B L N ..."""
    x = jnp.moveaxis(blocks, (0, 2), (1, 3))
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]


def _overlap(queries: _Tokens, keys: _Tokens) -> jax.Array:
    """Whether in any row and call the ranges of ids overlap, and no key need lie behind."""
    (low, high), (key_low, key_high) = (
        (jnp.where(x.ids < 0, LAST, x.ids).min(1), x.ids.max(1)) for x in (queries, keys)
    )
    seen = ((low <= key_high) & (key_low <= high)).any()
    if queries.places is None or keys.places is None:
        return seen
    return seen & (queries.places.max() >= keys.places.min())


BLOCKED = Pieces(blocked_sums, blocked_gradients)
