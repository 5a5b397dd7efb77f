"""Segment attention by jax's splash kernel for TPUs, with the blocks that nobody sees skipped.

The kernel takes a list of blocks for masks that are known before compiling. Here the list is made
in the graph, of the segment ids: a dead block costs neither arithmetic nor memory traffic.
The adapter to an experimental part of jax, of the versions in `KNOWN`; nothing else touches it.
"""

import functools

import jax
import jax.numpy as jnp

from videodit.nn.segments import NO_KEY, NOBODY

KNOWN = ((0, 10, 2), (0, 13, 0))  # jax from the first, before the second
LANES = 128  # blocks are multiples of it
BLOCK = 512  # tokens; in rows of more than LONG tokens twice that, as a dead block takes a step
LONG = 16_384
NOTHING = -1e30  # a logit beside those of the keys: the softmax of no keys is 0 and not 0 / 0
INTERPRET = False  # tests: pltpu.InterpretParams() (interpret=True gives wrong gradients)


def missing() -> str:
    """Why this jax cannot be used; "" if it can."""
    if not KNOWN[0] <= jax.__version_info__ < KNOWN[1]:
        least, most = (".".join(map(str, version)) for version in KNOWN)
        return f"the splash kernel is known of jax {least} to {most}, not of {jax.__version__}"
    try:
        _private()
    except ImportError as error:
        return f"jax {jax.__version__} has no splash kernel: {error}"
    return ""


def splash_attention(q, k, v, query_ids, key_ids):
    """As nn/attention.py:attention, of one call: ids B L and B S. In arrays of one device."""
    length, (query_block, key_block) = q.shape[1], (block_size(x.shape[1]) for x in (q, k))
    q = (q.astype(jnp.float32) * q.shape[-1] ** -0.5).astype(q.dtype)
    q, query_ids = _filled(q, query_block, 0), _filled(query_ids, query_block, NOBODY)
    k, v = _filled(k, key_block, 0), _filled(v, key_block, 0)
    key_ids = _filled(key_ids, key_block, NO_KEY)
    heads = [x.swapaxes(1, 2) for x in (q, k, v)]
    row = functools.partial(_row, query_block=query_block, key_block=key_block)
    y = jax.lax.map(lambda arguments: row(*arguments), (*heads, query_ids, key_ids))
    return y.swapaxes(1, 2)[:, :length]


def _row(q, k, v, query_ids, key_ids, *, query_block: int, key_block: int):
    """q: N L H; k, v: N S H; ids L and S; lengths are multiples of the blocks."""
    kernel, info = _private()
    live = live_blocks(query_ids.reshape(-1, query_block), key_ids.reshape(-1, key_block))
    by_query, by_key = next_live(live), next_live(live.T).T
    mask = lambda following: info.MaskInfo(
        data_next=following[None],
        mask_next=None,
        block_mask=jnp.where(live, 2, 0)[None].astype(jnp.int32),  # 2: no mask but the ids'
        partial_mask_blocks=None,
        q_sequence=None,
    )
    sizes = kernel.BlockSizes(
        block_q=query_block,
        block_kv=key_block,
        block_q_dkv=query_block,
        block_kv_dkv=key_block,
        block_q_dq=query_block,
        block_kv_dq=key_block,
    )
    attend = kernel.SplashAttentionKernel(
        mask(by_query),
        mask(by_query),
        mask(by_key),
        block_sizes=sizes,
        is_mqa=False,
        save_residuals=False,
        mask_value=kernel.DEFAULT_MASK_VALUE,
        attn_logits_soft_cap=None,
        residual_checkpoint_name="attention",
        mask_function=None,
        interpret=INTERPRET,
    )
    nothing = jnp.full(len(q), NOTHING, jnp.float32)
    return attend(q, k, v, kernel.SegmentIds(query_ids, key_ids), nothing)


def block_size(length: int) -> int:
    """Tokens of a block of a row of `length`."""
    most = BLOCK if length <= LONG else 2 * BLOCK
    return min(most, -(-length // LANES) * LANES)


def live_blocks(query_ids, key_ids):
    """Which blocks of queries (I L) and keys (J S) have ids whose ranges overlap: I J bool."""
    most = jnp.iinfo(jnp.int32).max

    def extent(ids):
        ids = jnp.where(ids == 0, most - 1, ids)  # padding, at the end of a row
        return jnp.where(ids < 0, most, ids).min(1), ids.max(1)

    (low, high), (key_low, key_high) = extent(query_ids), extent(key_ids)
    return (low[:, None] <= key_high) & (key_low <= high[:, None])


def next_live(live):
    """The column of the next live entry of an I J matrix, at or behind each in order of rows.

    While a dead block is passed over the next live one is fetched; behind the last, the first.
    """
    place = jnp.arange(live.size, dtype=jnp.int32)
    flat = live.reshape(-1)
    following = jax.lax.cummin(jnp.where(flat, place, live.size), reverse=True)
    following = jnp.where(following == live.size, jnp.argmax(flat), following)
    return (following % live.shape[1]).reshape(live.shape).astype(jnp.int32)


def _filled(x, block: int, fill: int):
    """x with the second axis filled up to a multiple of `block`."""
    widths = [(0, 0)] * x.ndim
    widths[1] = (0, -x.shape[1] % block)
    return jnp.pad(x, widths, constant_values=fill)


def _private():
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel,
        splash_attention_mask_info,
    )

    return splash_attention_kernel, splash_attention_mask_info
