"""Segment attention: a query sees exactly the keys that carry its segment id.

One function serves self-attention over packed clips, cross-attention to packed captions, windows
(a window is a segment, nn/windows.py) and decoders (causal segments).
"""

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from videodit.nn import cudnn, splash
from videodit.nn.kernels import AUTO, resolve
from videodit.nn.plain_attention import BLOCKED, blocked_attention, masked_attention
from videodit.nn.ring import gather_keys, ring_attention
from videodit.nn.segments import NO_KEY, NOBODY, Order, Segments, permuted
from videodit.sharding import axis_size, spec

FEW_QUERIES = 64  # at most so many take logits no larger than the keys: steps of a decoder
logger = logging.getLogger(__name__)


def attention(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments, implementation: str = AUTO
) -> jax.Array:
    """softmax(q k^T / sqrt(H)) v within segments.

    q: B L N H; k, v: B S N H. Returns B L N H in q's dtype, 0 for a query that sees no key.
    implementation: one of nn/kernels.py:NAMES, or "auto". Where it does not take such arguments,
    "blocked" does.

    On a mesh, rows are gathered along `context` and the heads are shared out instead (Ulysses,
    arXiv:2309.14509), so tensor x context must divide N. Along `ring`, keys and values are passed
    from device to device (nn/ring.py), and the implementation attends to them if it is in RING,
    else "blocked" does. Keys that are fewer than the queries are gathered along the ring instead.

    Raises ConfigError for an implementation that is unknown, of another platform, or that does not
    take so long a row; ValueError for segments that do not fit q and k.
    """
    segments = segments.by_call()
    _check(q, k, segments)
    along_ring = spec() is not None and axis_size("attention_length") > 1
    name = _accepted(resolve(implementation).implementation, q, segments, along_ring)
    local = IMPLEMENTATIONS[name]
    # The places of causal queries are those of their keys: one order must sort both.
    torn = segments.causal and segments.key is not None
    if segments.orders is None or name == "masked" or along_ring or torn:
        segments = dataclasses.replace(segments, orders=None)
    else:
        local = _in_order(local)
    if along_ring and k.shape[1] < q.shape[1]:
        local = gather_keys(local)
    elif along_ring:
        name = name if name in RING else "blocked"
        local = ring_attention(RING[name])
    if spec() is None:
        return local(q, k, v, segments)
    # Kernels do not declare which mesh axes their outputs vary over.
    return _over_mesh(local, (q, k, v, segments), check_vma=name in ("masked", "blocked"))


def _check(q: jax.Array, k: jax.Array, segments: Segments) -> None:
    lengths = q.shape[1], k.shape[1]
    found = segments.query.shape[1], segments.keys.shape[1]
    if found != lengths:
        raise ValueError(f"segments of {found} queries and keys: expected {lengths}, as q and k")
    if segments.causal and lengths[1] < lengths[0]:
        raise ValueError(f"causal segments: expected at least {lengths[0]} keys, not {lengths[1]}")


def _over_mesh(local: Callable, arguments: tuple, check_vma: bool) -> jax.Array:
    """`local` on each device: to whole rows, or to parts of the ring, of a share of the heads."""
    heads = spec("batch", "attention_length", "attention_heads", None)
    ids = spec("batch", "attention_length", None)
    specs = (heads,) * 3 + (jax.tree.map(lambda _: ids, arguments[3]),)
    arguments = jax.tree.map(jax.reshard, arguments, specs)
    y = jax.shard_map(local, out_specs=heads, in_specs=specs, check_vma=check_vma)(*arguments)
    return jax.reshard(y, spec("batch", "length", "heads", None))


def _accepted(name: str, q: jax.Array, segments: Segments, along_ring: bool) -> str:
    """The implementation `name`, or another one that takes these arguments; says so once."""
    refusal = cudnn.refusal(q, segments) if name == "cudnn" else ""
    if refusal:
        _say(f"attention: blocked, because {refusal}")
        name = "blocked"
    decodes = segments.causal and segments.key is not None and q.shape[1] <= FEW_QUERIES
    return "masked" if decodes and not along_ring else name


@functools.cache
def _say(message: str) -> None:
    logger.info(message)


def _in_order(local: Callable) -> Callable:
    """`local` attention to the tokens as sorted for each call, where that is another order."""

    def one_call(
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        segments: Segments,
        query_order: Order,
        key_order: Order,
    ) -> jax.Array:
        ids = jnp.take_along_axis(segments.query, query_order.forward, axis=1)
        key_ids = segments.key
        if key_ids is not None:
            key_ids = jnp.take_along_axis(key_ids, key_order.forward, axis=1)
        q, k, v = permuted(q, *query_order), permuted(k, *key_order), permuted(v, *key_order)
        y = local(q, k, v, dataclasses.replace(segments, query=ids, key=key_ids).by_call())
        return permuted(y, query_order.inverse, query_order.forward)

    def attend(q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments) -> jax.Array:
        orders, unordered = segments.orders, dataclasses.replace(segments, orders=None)

        def in_order() -> jax.Array:
            of_call = lambda c: jax.tree.map(lambda x: x[..., c], orders)
            calls = enumerate(unordered.calls())
            total: Any = sum(one_call(q, k, v, segments, *of_call(c)) for c, segments in calls)
            return total

        assert orders is not None
        moved = jnp.diff(orders[1].forward, axis=1) < 0
        return jax.lax.cond(moved.any(), in_order, lambda: local(q, k, v, unordered))

    return attend


def cudnn_attention(q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments) -> jax.Array:
    """By cuDNN (nn/cudnn.py); in blocks where a row has more segments than that can take.

    If the keys have ids of their own, padding (segment 0) sees nothing.
    """
    whole = segments.key is None
    packed: Callable[..., jax.Array] = functools.partial(
        cudnn.whole_attention if whole else cudnn.packed_attention, causal=segments.causal
    )
    if segments.key is not None:
        # Padding may be in several pieces, for example where a caption is left out.
        segments = dataclasses.replace(
            segments,
            query=jnp.where(segments.query == 0, NOBODY, segments.query),
            key=jnp.where(segments.key == 0, NO_KEY, segments.key),
        )
    size = segments.most or cudnn.likely_segments(k.shape[1])
    tables, complete = zip(
        *(cudnn.segment_table(call.query, call.keys, size) for call in segments.calls())
    )
    by_tables: Callable[..., Any] = lambda *heads: sum(packed(*heads, table) for table in tables)
    by_blocks = lambda *heads: blocked_attention(*heads, segments)
    if segments.most:
        return by_tables(q, k, v)
    return jax.lax.cond(jnp.stack(complete).all(), by_tables, by_blocks, q, k, v)


def splash_attention(q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments) -> jax.Array:
    """By the splash kernel (nn/splash.py): each query is in one call, and 0 in the others."""
    total: Any = sum(splash.splash_attention(q, k, v, call) for call in segments.calls())
    return total


IMPLEMENTATIONS: dict[str, Callable[..., jax.Array]] = {
    "masked": masked_attention,
    "blocked": blocked_attention,
    "cudnn": cudnn_attention,
    "splash": splash_attention,
}
RING = {"blocked": BLOCKED, "splash": splash.PIECES}  # those that attend to parts of the keys
