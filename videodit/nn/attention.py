"""Segment attention: a query sees exactly the keys that carry its segment id.

One function for self-attention over packed clips, cross-attention to packed captions, and
windows (a window is a segment, nn/windows.py). Padding is segment 0 and sees padding only.
"""

import functools
import logging

import jax
import jax.numpy as jnp

from videodit.nn import cudnn, splash
from videodit.nn.kernels import AUTO, resolve
from videodit.nn.plain_attention import BLOCKED, blocked_attention, masked_attention
from videodit.nn.ring import gather_keys, ring_attention
from videodit.nn.segments import NO_KEY, NOBODY, Order, permuted
from videodit.sharding import axis_size, spec

logger = logging.getLogger(__name__)


def attention(
    q,
    k,
    v,
    *,
    query_segment_ids,
    key_segment_ids,
    implementation=AUTO,
    orders: tuple[Order, Order] | None = None,
    most_segments: int | None = None,
):
    """softmax(q k^T / sqrt(H)) v within segments.

    q: B L N H; k, v: B S N H; query_segment_ids: B L and key_segment_ids: B S int32, or B L C and
    B S C for C calls, in exactly one of which each query has an id other than NOBODY. Returns
    B L N H in q's dtype, 0 for a query that sees no key. On a mesh the rows are gathered along
    `context` and the heads shared out instead (Ulysses, arXiv:2309.14509), so N must divide by
    tensor x context. Along `ring` keys travel, and are attended to by the implementation if it is
    in RING, else in blocks; where they are fewer than the queries they are gathered instead.

    orders: of the queries and of the keys, in which segments are contiguous, where they are not;
    only for speed. most_segments: a promise that no row has more different key ids.
    Raises ConfigError for an implementation that is unknown, of another platform, or that does not
    take so long a row.
    """
    same = query_segment_ids is key_segment_ids
    if query_segment_ids.ndim == 2:
        query_segment_ids = query_segment_ids[..., None]
        key_segment_ids = key_segment_ids[..., None]
    name = _accepted(resolve(implementation).implementation, q)
    local = IMPLEMENTATIONS[name]
    if name == "cudnn":
        local = functools.partial(local, most=most_segments, same=same)
    arguments = [q, k, v, query_segment_ids, key_segment_ids]
    along_ring = spec() is not None and axis_size("attention_length") > 1
    if orders is not None and name != "masked" and not along_ring:
        local = _in_order(local)
        arguments += [*orders[0], *orders[1]]
    if along_ring and k.shape[1] < q.shape[1]:
        local = gather_keys(local)
    elif along_ring:
        name = name if name in RING else "blocked"
        local = ring_attention(RING[name])
    if spec() is None:
        return local(*arguments)
    # Kernels do not say over which axes what they return varies.
    return _over_mesh(local, arguments, check_vma=name in ("masked", "blocked"))


def _over_mesh(local, arguments, check_vma: bool):
    """`local` on each device: to whole rows, or to parts of the ring, of a share of the heads."""
    heads = spec("batch", "attention_length", "attention_heads", None)
    ids = spec("batch", "attention_length", None)
    specs = (heads,) * 3 + (ids,) * (len(arguments) - 3)
    arguments = [jax.reshard(x, s) for x, s in zip(arguments, specs)]
    y = jax.shard_map(local, out_specs=heads, in_specs=specs, check_vma=check_vma)(*arguments)
    return jax.reshard(y, spec("batch", "length", "heads", None))


def _accepted(name: str, q) -> str:
    """The implementation `name`, or "blocked" if it does not take such heads; said once."""
    refusal = cudnn.refusal(q) if name == "cudnn" else ""
    if refusal:
        _say(f"attention: blocked, because {refusal}")
    return "blocked" if refusal else name


@functools.cache
def _say(message: str) -> None:
    logger.info(message)


def _in_order(local):
    """`local` attention to the tokens as sorted for each call, where that is another order."""

    def one_call(q, k, v, query_ids, key_ids, query_order, key_order):
        ids = jnp.take_along_axis(query_ids, query_order.forward, axis=1)
        ids_of_keys = jnp.take_along_axis(key_ids, key_order.forward, axis=1)
        q, k, v = permuted(q, *query_order), permuted(k, *key_order), permuted(v, *key_order)
        y = local(q, k, v, ids[..., None], ids_of_keys[..., None])
        return permuted(y, query_order.inverse, query_order.forward)

    def attend(q, k, v, query_ids, key_ids, *orders):
        ids_and_orders = (query_ids, key_ids, Order(*orders[:2]), Order(*orders[2:]))

        def in_order():
            calls = range(query_ids.shape[-1])
            of_call = lambda c: jax.tree.map(lambda x: x[..., c], ids_and_orders)
            return sum(one_call(q, k, v, *of_call(c)) for c in calls)

        moved = jnp.diff(orders[2], axis=1) < 0  # of the keys
        return jax.lax.cond(moved.any(), in_order, lambda: local(q, k, v, query_ids, key_ids))

    return attend


def cudnn_attention(q, k, v, query_ids, key_ids, most=None, same=False):
    """By cuDNN (nn/cudnn.py); by blocks where a row has more segments than that can take.

    most: a promise that no row has more different key ids. same: query_ids are key_ids. If they
    are not, padding (segment 0) sees nothing.
    """
    packed = cudnn.whole_attention if same else cudnn.packed_attention
    if not same:  # padding may be in pieces: a caption that is left out, among others
        query_ids = jnp.where(query_ids == 0, NOBODY, query_ids)
        key_ids = jnp.where(key_ids == 0, NO_KEY, key_ids)
    calls = range(query_ids.shape[-1])
    size = most or cudnn.likely_segments(k.shape[1])
    tables, complete = zip(
        *(cudnn.segment_table(query_ids[..., c], key_ids[..., c], size) for c in calls)
    )
    by_tables = lambda *heads: sum(packed(*heads, table) for table in tables)
    by_blocks = lambda *heads: blocked_attention(*heads, query_ids, key_ids)
    if most:
        return by_tables(q, k, v)
    return jax.lax.cond(jnp.stack(complete).all(), by_tables, by_blocks, q, k, v)


def splash_attention_of_calls(q, k, v, query_ids, key_ids):
    """By the splash kernel (nn/splash.py): each query is in one call, and 0 in the others."""
    calls = range(query_ids.shape[-1])
    return sum(splash.splash_attention(q, k, v, query_ids[..., c], key_ids[..., c]) for c in calls)


IMPLEMENTATIONS = {
    "masked": masked_attention,
    "blocked": blocked_attention,
    "cudnn": cudnn_attention,
    "splash": splash_attention_of_calls,
}
RING = {"blocked": BLOCKED, "splash": splash.PIECES}  # of keys that travel
