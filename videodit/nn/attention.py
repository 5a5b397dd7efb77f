"""Segment attention: a query sees exactly the keys that carry its segment id.

One function for self-attention over packed clips, cross-attention to packed captions, and
windows (a window is a segment, nn/windows.py). Padding is segment 0 and sees padding only.
"""

from functools import partial

import jax
import jax.numpy as jnp

from videodit.config import ConfigError, nearest
from videodit.sharding import spec

NOBODY = -1  # id of a query that takes no part in a call; no key carries it
QUERY_BLOCK = 128  # queries whose logits exist at one time in the "blocked" implementation


def attention(q, k, v, *, query_segment_ids, key_segment_ids, implementation="blocked"):
    """softmax(q k^T / sqrt(H)) v within segments.

    q: B L N H; k, v: B S N H; query_segment_ids: B L and key_segment_ids: B S int32, or B L C and
    B S C for C calls, in exactly one of which each query has an id other than NOBODY. Returns
    B L N H in q's dtype. On a mesh the rows are gathered along `length` and the heads shared
    out instead (Ulysses, arXiv:2309.14509), so N must divide by tensor x context.
    Raises ConfigError for an unknown implementation.
    """
    if query_segment_ids.ndim == 2:
        query_segment_ids = query_segment_ids[..., None]
        key_segment_ids = key_segment_ids[..., None]
    if implementation not in IMPLEMENTATIONS:
        hint = nearest(implementation, IMPLEMENTATIONS)
        raise ConfigError(f"unknown attention implementation {implementation!r}: {hint}")
    local = IMPLEMENTATIONS[implementation]
    if spec() is None:
        return local(q, k, v, query_segment_ids, key_segment_ids)
    heads, ids = spec("batch", None, "attention_heads", None), spec("batch", None, None)
    arguments = [jax.reshard(x, heads) for x in (q, k, v)]
    arguments += [jax.reshard(x, ids) for x in (query_segment_ids, key_segment_ids)]
    y = jax.shard_map(local, out_specs=heads, in_specs=(heads,) * 3 + (ids,) * 2)(*arguments)
    return jax.reshard(y, spec("batch", "length", "heads", None))


def masked_attention(q, k, v, query_ids, key_ids):
    """The reference: every logit at once, B N L S of memory. All calls share one softmax."""
    mask = (query_ids[:, None, :, None] == key_ids[:, None, None]).any(-1)
    logits = jnp.einsum("blnh,bsnh->bnls", q, k, preferred_element_type=jnp.float32)
    logits = jnp.where(mask, logits * q.shape[-1] ** -0.5, -1e30)  # finite: no NaN if no key
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("bnls,bsnh->blnh", weights, v)


def blocked_attention(q, k, v, query_ids, key_ids):
    """The same over one block of queries at a time, in the backward pass too: no L x S memory."""
    length = q.shape[1]
    blocks = -(-length // QUERY_BLOCK)
    if blocks == 1:
        return masked_attention(q, k, v, query_ids, key_ids)

    def split(x):  # B L ... -> blocks B QUERY_BLOCK ...
        x = jnp.pad(x, [(0, 0), (0, blocks * QUERY_BLOCK - length)] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(x.shape[0], blocks, QUERY_BLOCK, *x.shape[2:]), 1, 0)

    block = jax.checkpoint(partial(_one_block, k=k, v=v, key_ids=key_ids))
    y = jax.lax.map(block, (split(q), split(query_ids)))
    y = jnp.moveaxis(y, 0, 1)
    return y.reshape(y.shape[0], -1, *y.shape[3:])[:, :length]


def _one_block(block, *, k, v, key_ids):
    q, query_ids = block
    return masked_attention(q, k, v, query_ids, key_ids)


IMPLEMENTATIONS = {"masked": masked_attention, "blocked": blocked_attention}
