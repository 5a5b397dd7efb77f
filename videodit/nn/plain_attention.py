"""Segment attention in plain JAX: all logits at once, and in blocks of queries and keys."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from videodit.nn.ring import Pieces
from videodit.nn.segments import NO_KEY, NOBODY

NEVER = -1e30  # a logit: finite, so that nothing is NaN where there is no key
QUERY_BLOCK, KEY_BLOCK = 128, 512  # whose logits exist at one time in `blocked_attention`
MOST_BLOCKS = 128  # of a row: a longer one has larger blocks, not more turns of a loop


def masked_attention(q, k, v, query_ids, key_ids):
    """The reference: every logit at once, B N L S of memory. All calls share one softmax."""
    logits, mask = _logits(q, k, query_ids, key_ids)
    weights = jnp.where(mask, jax.nn.softmax(logits, axis=-1), 0).astype(v.dtype)
    return jnp.einsum("bnls,bsnh->blnh", weights, v)


@jax.custom_vjp
def blocked_attention(q, k, v, query_ids, key_ids):
    """The same in blocks of queries and keys (arXiv:2205.14135): no L x S memory.

    Blocks in which no query sees a key are skipped, going by the least and the greatest id of each:
    where ids rise along the row, the cost grows with what is seen and not with L x S.
    """
    return _blocked_forward(q, k, v, query_ids, key_ids)[0]


def _blocked_forward(q, k, v, query_ids, key_ids):
    sums = blocked_sums(q, k, v, query_ids, key_ids, v.dtype)
    y, log = (checkpoint_name(x, "attention") for x in sums)  # nn/block.py:REMAT
    return y, (q, k, v, query_ids, key_ids, y, log)


def _blocked_backward(saved, gradient):
    gradients = blocked_gradients(*saved, gradient)
    return *(dx.astype(x.dtype) for dx, x in zip(gradients, saved)), None, None


blocked_attention.defvjp(_blocked_forward, _blocked_backward)


def blocked_sums(q, k, v, query_ids, key_ids, dtype=jnp.float32):
    """Means B L N H of the values in `dtype`, and log-sum-exp B L N float32 of the logits."""
    # Without it the masks of all blocks, which follow from the ids alone, would be made before a
    # scan over layers and kept for its backward pass: L x S memory.
    q, query_ids, key_ids = jax.lax.optimization_barrier((q, query_ids, key_ids))
    queries, keys = _query_blocks(q, query_ids), _key_blocks(k, v, key_ids)

    def one_block(block):
        q, ids = block
        zero = 0 * q.astype(jnp.float32)  # and not zeros: on a mesh it varies as q does
        first = _Softmax(NEVER + zero[..., 0], zero[..., 0], zero)
        add = lambda sums, j: sums.add(q, ids, *(x[j] for x in keys))
        sums = _sum_over_seen(ids, keys[-1], first, add)
        return sums.mean().astype(dtype), sums.log()

    return tuple(_joined(x, q.shape[1]) for x in jax.lax.map(one_block, queries))


def blocked_gradients(q, k, v, query_ids, key_ids, y, log, gradient):
    """Gradients float32 at q, k and v of attention whose output is y; log as of `blocked_sums`."""
    delta = (gradient.astype(jnp.float32) * y).sum(-1)
    further = (_split(x, query_block(q.shape[1]), 0) for x in (gradient, log, delta))
    queries = (*_query_blocks(q, query_ids), *further)
    keys, scale = _key_blocks(k, v, key_ids), q.shape[-1] ** -0.5

    def weights_and_slopes(query, key):
        """Weights B N L S and the loss's slope with respect to the logits."""
        (q, query_ids, gradient, log, delta), (k, v, key_ids) = query, key
        logits, mask = _logits(q, k, query_ids, key_ids)
        weights = jnp.where(mask, jnp.exp(logits - jnp.moveaxis(log, 1, 2)[..., None]), 0)
        slopes = jnp.einsum("blnh,bsnh->bnls", gradient, v, preferred_element_type=jnp.float32)
        return weights, weights * (slopes - jnp.moveaxis(delta, 1, 2)[..., None])

    def query_gradient(query):
        def add(total, j):
            key = tuple(x[j] for x in keys)
            _, slopes = weights_and_slopes(query, key)
            return total + jnp.einsum("bnls,bsnh->blnh", slopes, key[0].astype(jnp.float32))

        return scale * _sum_over_seen(query[1], keys[-1], 0 * query[0].astype(jnp.float32), add)

    def key_gradients(key):
        def add(totals, i):
            query = tuple(x[i] for x in queries)
            weights, slopes = weights_and_slopes(query, key)
            back = lambda w, x: jnp.einsum("bnls,blnh->bsnh", w, x.astype(jnp.float32))
            return totals[0] + back(slopes, query[0]), totals[1] + back(weights, query[2])

        zeros = tuple(0 * x.astype(jnp.float32) for x in key[:2])
        dk, dv = _sum_over_seen(key[-1], queries[1], zeros, add)
        return scale * dk, dv

    dq = _joined(jax.lax.map(query_gradient, queries), q.shape[1])
    dk, dv = (_joined(x, k.shape[1]) for x in jax.lax.map(key_gradients, keys))
    return dq, dk, dv


class _Softmax(NamedTuple):
    """Of the keys so far: the greatest logit, the sum of weights, the weighted sum of values."""

    greatest: jax.Array  # B L N
    weights: jax.Array  # B L N
    values: jax.Array  # B L N H

    def add(self, q, query_ids, k, v, key_ids) -> "_Softmax":
        """With a block of keys more."""
        logits, mask = _logits(q, k, query_ids, key_ids)
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

    def mean(self):
        """The attention's output, float32; 0 where there was no key."""
        return self.values / jnp.where(self.weights > 0, self.weights, 1)[..., None]

    def log(self):
        """Logarithm of the sum of the exponentials of the logits."""
        return self.greatest + jnp.log(jnp.where(self.weights > 0, self.weights, 1))


def _sum_over_seen(ids, blocks, total, add):
    """add(total, j) for each j whose ids blocks[j] overlap with `ids`, one after the other."""

    seen = jax.vmap(lambda block: _overlap(ids, block))(blocks)
    first, end = jnp.argmax(seen), len(blocks) - jnp.argmax(seen[::-1])

    def step(j, total):
        return jax.lax.cond(seen[j], lambda t: add(t, j), lambda t: t, total)

    return jax.lax.fori_loop(first, jnp.where(seen.any(), end, first), step, total)


def query_block(length: int) -> int:
    """Queries of a block of a row."""
    return max(QUERY_BLOCK, -(-length // MOST_BLOCKS))


def key_block(length: int) -> int:
    """Keys of a block of a row."""
    return min(max(KEY_BLOCK, -(-length // MOST_BLOCKS)), length)


def _query_blocks(q, ids):
    size = query_block(q.shape[1])
    return _split(q, size, 0), _split(ids, size, NOBODY)


def _key_blocks(k, v, ids):
    size = key_block(k.shape[1])
    return _split(k, size, 0), _split(v, size, 0), _split(ids, size, NO_KEY)


def _logits(q, k, query_ids, key_ids):
    """Logits B N L S float32, NEVER where a query does not see a key, and whether it does."""
    mask = (query_ids[:, None, :, None] == key_ids[:, None, None]).any(-1)
    logits = jnp.einsum("blnh,bsnh->bnls", q, k, preferred_element_type=jnp.float32)
    return jnp.where(mask, logits * q.shape[-1] ** -0.5, NEVER), mask


def _split(x, size: int, fill: int):
    """B L ... -> blocks B size ..., the last of them filled up."""
    widths = [(0, 0), (0, -x.shape[1] % size)] + [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, widths, constant_values=fill)
    return jnp.moveaxis(x.reshape(x.shape[0], -1, size, *x.shape[2:]), 1, 0)


def _joined(blocks, length: int):
    """The inverse of `_split`."""
    x = jnp.moveaxis(blocks, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]


def _overlap(query_ids, key_ids):
    """Whether in any row and call the ranges of two blocks of ids, B L C and B S C, overlap."""
    most = jnp.iinfo(jnp.int32).max
    (low, high), (key_low, key_high) = (
        (jnp.where(ids < 0, most, ids).min(1), ids.max(1)) for ids in (query_ids, key_ids)
    )
    return ((low <= key_high) & (key_low <= high)).any()


BLOCKED = Pieces(blocked_sums, blocked_gradients)
