"""Segment attention in plain JAX: all logits at once, and in blocks of queries and keys."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from videodit.nn.ring import Ahead, Pieces
from videodit.nn.segments import NO_KEY, NOBODY, Segments

NEVER = -1e30  # a logit: finite, so that nothing is NaN where there is no key
QUERY_BLOCK, KEY_BLOCK = 128, 512  # whose logits exist at one time in `blocked_attention`
MOST_BLOCKS = 128  # of a row: a longer one has larger blocks, not more turns of a loop
FIRST, LAST = jnp.iinfo(jnp.int32).min, jnp.iinfo(jnp.int32).max


class _Tokens(NamedTuple):
    """What decides whether a query sees a key: the ids of both, and their places if causal."""

    ids: jax.Array  # B L C int32
    places: jax.Array | None  # 1 L int32


def masked_attention(q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments) -> jax.Array:
    """The reference: every logit at once, B N L S of memory. All calls share one softmax.

    Arguments and result as nn/attention.py:attention, on one device.
    """
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
        add = lambda sums, key: sums.add(q, tokens, *key)
        seen = jax.vmap(lambda block: _overlap(tokens, block))(keys[-1])
        sums = _sum_over_seen(seen, keys, first, add)
        return sums.mean().astype(dtype), sums.log()

    y, log = jax.lax.map(one_block, queries)
    return _joined(y, q.shape[1]), _joined(log, q.shape[1])


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
    further = (_split(x, query_block(q.shape[1]), 0) for x in (gradient, log, delta))
    queries, keys = _blocks(q, k, v, _tokens(segments, ahead))
    queries, scale = (*queries, *further), q.shape[-1] ** -0.5

    def weights_and_slopes(query: Any, key: Any) -> tuple[jax.Array, jax.Array]:
        """Weights B N L S and the loss's slope with respect to the logits."""
        (q, tokens, gradient, log, delta), (k, v, key_tokens) = query, key
        logits, mask = _logits(q, k, tokens, key_tokens)
        weights = jnp.where(mask, jnp.exp(logits - jnp.moveaxis(log, 1, 2)[..., None]), 0)
        slopes = jnp.einsum("blnh,bsnh->bnls", gradient, v, preferred_element_type=jnp.float32)
        return weights, weights * (slopes - jnp.moveaxis(delta, 1, 2)[..., None])

    def query_gradient(query: Any) -> jax.Array:
        def add(total: jax.Array, key: Any) -> jax.Array:
            _, slopes = weights_and_slopes(query, key)
            return total + jnp.einsum("bnls,bsnh->blnh", slopes, key[0].astype(jnp.float32))

        seen = jax.vmap(lambda block: _overlap(query[1], block))(keys[-1])
        return scale * _sum_over_seen(seen, keys, 0 * query[0].astype(jnp.float32), add)

    def key_gradients(key: Any) -> tuple[jax.Array, jax.Array]:
        def add(totals: tuple[jax.Array, jax.Array], query: Any) -> tuple[jax.Array, jax.Array]:
            weights, slopes = weights_and_slopes(query, key)
            back = lambda w, x: jnp.einsum("bnls,blnh->bsnh", w, x.astype(jnp.float32))
            return totals[0] + back(slopes, query[0]), totals[1] + back(weights, query[2])

        zeros = tuple(0 * x.astype(jnp.float32) for x in key[:2])
        seen = jax.vmap(lambda block: _overlap(block, key[-1]))(queries[1])
        dk, dv = _sum_over_seen(seen, queries, zeros, add)
        return scale * dk, dv

    dq = _joined(jax.lax.map(query_gradient, queries), q.shape[1])
    dk, dv = (_joined(x, k.shape[1]) for x in jax.lax.map(key_gradients, keys))
    return dq, dk, dv


class _Softmax(NamedTuple):
    """The greatest logit, the sum of weights and the weighted sum of values of the keys so far."""

    greatest: jax.Array  # B L N
    weights: jax.Array  # B L N
    values: jax.Array  # B L N H

    def add(
        self, q: jax.Array, queries: _Tokens, k: jax.Array, v: jax.Array, keys: _Tokens
    ) -> "_Softmax":
        """The same with one more block of keys."""
        logits, mask = _logits(q, k, queries, keys)
        greatest = jnp.maximum(self.greatest, jnp.moveaxis(logits.max(-1), 1, 2))
        old = jnp.exp(self.greatest - greatest)
        weights = jnp.where(mask, jnp.exp(logits - jnp.moveaxis(greatest, 1, 2)[..., None]), 0)
        values = jnp.einsum(
            "bnls,bsnh->blnh", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
        )
        return _Softmax(
            greatest,
            old * self.weights + jnp.moveaxis(weights.sum(-1), 1, 2),
            old[..., None] * self.values + values,
        )

    def mean(self) -> jax.Array:
        """The attention's output, float32; 0 where there was no key."""
        return self.values / jnp.where(self.weights > 0, self.weights, 1)[..., None]

    def log(self) -> jax.Array:
        """Logarithm of the sum of the exponentials of the logits."""
        return self.greatest + jnp.log(jnp.where(self.weights > 0, self.weights, 1))


def _sum_over_seen(seen: jax.Array, blocks: Any, total: Any, add: Callable) -> Any:
    """add(total, block) for each of `blocks` that is `seen` (bool), one after the other."""
    first, end = jnp.argmax(seen), len(seen) - jnp.argmax(seen[::-1])

    def step(j: jax.Array, total: Any) -> Any:
        one = lambda total: add(total, jax.tree.map(lambda x: x[j], blocks))
        return jax.lax.cond(seen[j], one, lambda t: t, total)

    return jax.lax.fori_loop(first, jnp.where(seen.any(), end, first), step, total)


def query_block(length: int) -> int:
    """Queries of a block of a row."""
    return max(QUERY_BLOCK, -(-length // MOST_BLOCKS))


def key_block(length: int) -> int:
    """Keys of a block of a row."""
    return min(max(KEY_BLOCK, -(-length // MOST_BLOCKS)), length)


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
        (_split(q, size, 0), _split_tokens(queries, size, NOBODY, FIRST)),
        (
            _split(k, key_size, 0),
            _split(v, key_size, 0),
            _split_tokens(keys, key_size, NO_KEY, LAST),
        ),
    )


def _split_tokens(tokens: _Tokens, size: int, fill: int, place: int) -> _Tokens:
    places = None if tokens.places is None else _split(tokens.places, size, place)
    return _Tokens(_split(tokens.ids, size, fill), places)


def _logits(
    q: jax.Array, k: jax.Array, queries: _Tokens, keys: _Tokens
) -> tuple[jax.Array, jax.Array]:
    """Logits B N L S float32, NEVER where a query does not see a key, and whether it does."""
    mask = (queries.ids[:, None, :, None] == keys.ids[:, None, None]).any(-1)
    if queries.places is not None and keys.places is not None:
        mask &= queries.places[:, None, :, None] >= keys.places[:, None, None]
    logits = jnp.einsum("blnh,bsnh->bnls", q, k, preferred_element_type=jnp.float32)
    return jnp.where(mask, logits * q.shape[-1] ** -0.5, NEVER), mask


def _split(x: jax.Array, size: int, fill: int) -> jax.Array:
    """B L ... -> blocks B size ..., the last of them filled up."""
    widths = [(0, 0), (0, -x.shape[1] % size)] + [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, widths, constant_values=fill)
    return jnp.moveaxis(x.reshape(x.shape[0], -1, size, *x.shape[2:]), 1, 0)


def _joined(blocks: jax.Array, length: int) -> jax.Array:
    """The inverse of `_split`."""
    x = jnp.moveaxis(blocks, 0, 1)
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
