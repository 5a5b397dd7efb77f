"""Segment attention by jax's splash kernel for TPUs, with the blocks that nobody sees skipped.

The kernel takes a list of blocks for masks that are known before compiling. Here the list is made
in the graph, of the segment ids: a dead block costs neither arithmetic nor memory traffic.
The adapter to an experimental part of jax, of the versions in `KNOWN`; nothing else touches it.
"""

import functools

import jax
import jax.numpy as jnp

from videodit.nn.ring import Pieces
from videodit.nn.segments import NO_KEY, NOBODY

KNOWN = ((0, 10, 2), (0, 13, 0))  # jax from the first, before the second
LANES = 128  # blocks are multiples of it
BLOCK = 512  # tokens; in rows of more than LONG tokens twice that, as a dead block takes a step
LONG = 16_384
NOTHING = -1e30  # a logit beside those of the keys: the softmax of no keys is 0 and not 0 / 0
OPTIONS = (  # of the kernel's backward pass, in its order
    "save_residuals",
    "mask_value",
    "is_mqa",
    "block_sizes",
    "residual_checkpoint_name",
    "mask_function",
    "attn_logits_soft_cap",
    "interpret",
)
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

    def row(q, k, v, query_ids, key_ids):
        attend = _kernel(query_ids, key_ids)
        nothing = jnp.full(len(q), NOTHING, jnp.float32)
        return attend(q, k, v, _private()[0].SegmentIds(query_ids, key_ids), nothing)

    y = _map_rows(row, (_scaled(q), k, v), query_ids, key_ids)
    return y.swapaxes(1, 2)[:, : q.shape[1]]


def _forward_piece(q, k, v, query_ids, key_ids):
    """Of nn/ring.py:Pieces."""
    length = q.shape[1]

    def row(q, k, v, query_ids, key_ids):
        attend = _kernel(query_ids, key_ids, save_residuals=True)
        nothing = jnp.full(len(q), NOTHING, jnp.float32)
        y, (log,) = attend(q, k, v, _private()[0].SegmentIds(query_ids, key_ids), nothing)
        return y.astype(jnp.float32), log

    def one_call(query_ids, key_ids):
        y, log = _map_rows(row, (_scaled(q), k, v), query_ids, key_ids)
        return y.swapaxes(1, 2)[:, :length], log.swapaxes(1, 2)[:, :length]

    y = jnp.zeros(q.shape, jnp.float32)
    nothing = y, jnp.full(q.shape[:-1], NOTHING, jnp.float32)
    parts = _of_calls(one_call, query_ids, key_ids, nothing)
    return sum(y for y, _ in parts), functools.reduce(jnp.maximum, [log for _, log in parts])


def _backward_piece(q, k, v, query_ids, key_ids, y, log, gradient):
    """Of nn/ring.py:Pieces."""
    kernel, _ = _private()
    # The kernel reads y for one thing only, its product with the gradient.
    further = (y.astype(jnp.float32), gradient.astype(v.dtype), log[..., None])

    def row(q, k, v, y, gradient, log, query_ids, key_ids):
        attend = _kernel(query_ids, key_ids)
        ids = kernel.SegmentIds(query_ids, key_ids)
        saved = q, k, v, ids, None, y, log[..., 0], attend.dq_mask_info, attend.dkv_mask_info
        options = attend.kwargs
        gradients = kernel._splash_attention_bwd(*(options[x] for x in OPTIONS), saved, gradient)
        return tuple(x.astype(jnp.float32) for x in gradients[3:6])

    def one_call(query_ids, key_ids):
        found = _map_rows(row, (_scaled(q), k, v, *further), query_ids, key_ids)
        return tuple(x.swapaxes(1, 2)[:, : to.shape[1]] for x, to in zip(found, (q, k, v)))

    nothing = tuple(jnp.zeros(x.shape, jnp.float32) for x in (q, k, v))
    dq, dk, dv = map(sum, zip(*_of_calls(one_call, query_ids, key_ids, nothing)))
    return dq * q.shape[-1] ** -0.5, dk, dv


PIECES = Pieces(_forward_piece, _backward_piece)


def _of_calls(one_call, query_ids, key_ids, nothing) -> list:
    """one_call(query_ids B L, key_ids B S) of each call; `nothing` of one in which nobody sees.

    Which costs nothing then: a dead block takes a step of the kernel, and in a long ring most
    parts of the keys are dead from end to end.
    """

    def one(query_ids, key_ids):
        seen = live_blocks(query_ids.reshape(1, -1), key_ids.reshape(1, -1)).any()
        return jax.lax.cond(seen, one_call, lambda *_: nothing, query_ids, key_ids)

    return [one(query_ids[..., c], key_ids[..., c]) for c in range(query_ids.shape[-1])]


def _map_rows(row, arrays, query_ids, key_ids):
    """row(*arrays, query_ids, key_ids) of each row: arrays N L H or N S H, filled to whole blocks.

    arrays: B L N H or B S N H; the second and third are of keys. Returns what begins with B.
    """
    query_block, key_block = block_size(query_ids.shape[1]), block_size(key_ids.shape[1])
    blocks = [key_block if i in (1, 2) else query_block for i in range(len(arrays))]
    heads = [_filled(x, block, 0).swapaxes(1, 2) for x, block in zip(arrays, blocks)]
    ids = _filled(query_ids, query_block, NOBODY), _filled(key_ids, key_block, NO_KEY)
    return jax.lax.map(lambda arguments: row(*arguments), (*heads, *ids))


def _scaled(q):
    return (q.astype(jnp.float32) * q.shape[-1] ** -0.5).astype(q.dtype)


def _kernel(query_ids, key_ids, save_residuals: bool = False):
    """The kernel of jax for one row, with a list of its live blocks; ids L and S."""
    kernel, info = _private()
    query_block, key_block = block_size(len(query_ids)), block_size(len(key_ids))
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
    return kernel.SplashAttentionKernel(
        mask(by_query),
        mask(by_query),
        mask(by_key),
        block_sizes=sizes,
        is_mqa=False,
        save_residuals=save_residuals,
        mask_value=kernel.DEFAULT_MASK_VALUE,
        attn_logits_soft_cap=None,
        residual_checkpoint_name=None if save_residuals else "attention",
        mask_function=None,
        interpret=INTERPRET,
    )


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
