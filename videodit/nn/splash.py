"""Segment attention by jax's splash kernel for TPUs, which skips blocks that no query sees.

The kernel is made for masks that are known before compiling: it takes a list of the blocks that it
has to visit. Here the graph makes that list from the segment ids, so a dead block costs neither
arithmetic nor memory traffic. All rows of a device are joined into one long row, and the list lets
each block of queries visit only blocks of keys of its own row.

This file adapts an experimental part of jax, of the versions in `KNOWN`; no other file uses it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from videodit.config import ConfigError
from videodit.nn.ring import Ahead, Pieces
from videodit.nn.segments import NO_KEY, NOBODY, Segments

KNOWN = ((0, 10, 2), (0, 13, 0))  # jax from the first, before the second
LANES = 128  # blocks are multiples of it
BLOCK = 512  # tokens; in rows of more than LONG tokens twice that, as a dead block takes a step
LONG = 16_384
NOTHING = -1e30  # a logit beside those of the keys: the softmax of no keys is 0 and not 0 / 0
# Entries of a list of one call, each line filled up to whole lanes. A call has two of 4 bytes an
# entry, in 1 MiB of scalar memory, which must hold those of one row in any case.
MOST_LISTED, MOST_OF_ROW = 2**16, 120_000
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


def splash_attention(q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments) -> jax.Array:
    """As nn/attention.py:attention, of one call: ids B L and B S. In arrays of one device.

    Raises ConfigError for a row too long for the kernel's lists: of some 350,000 tokens.
    """
    ahead = k.shape[1] - q.shape[1] if segments.causal else None

    def attend(
        q: jax.Array, k: jax.Array, v: jax.Array, query_ids: jax.Array, key_ids: jax.Array
    ) -> jax.Array:
        kernel, ids = _kernel(query_ids, key_ids, ahead)
        return _parted(kernel(*map(_joined, (_scaled(q), k, v)), ids, _nothing(q)), q)

    return _by_groups(attend, q, k, v, segments.query, segments.keys)


def _forward_piece(
    q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments, ahead: Ahead
) -> tuple[jax.Array, jax.Array]:
    """The `forward` of nn/ring.py:Pieces."""
    place = ahead if segments.causal else None

    def attend(
        q: jax.Array, k: jax.Array, v: jax.Array, query_ids: jax.Array, key_ids: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        kernel, ids = _kernel(query_ids, key_ids, place, save_residuals=True)
        y, (log,) = kernel(*map(_joined, (_scaled(q), k, v)), ids, _nothing(q))
        return _parted(y, q).astype(jnp.float32), _parted(log, q)

    nobody = jnp.zeros(q.shape, jnp.float32), jnp.full(q.shape[:-1], NOTHING, jnp.float32)
    means, logs = zip(*_of_calls(attend, (q, k, v), segments, place, nobody))
    mean: Any = sum(means)
    return mean, functools.reduce(jnp.maximum, logs)


def _backward_piece(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segments: Segments,
    ahead: Ahead,
    y: jax.Array,
    log: jax.Array,
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The `backward` of nn/ring.py:Pieces."""
    place = ahead if segments.causal else None

    def attend(
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        y: jax.Array,
        gradient: jax.Array,
        log: jax.Array,
        query_ids: jax.Array,
        key_ids: jax.Array,
    ) -> tuple[jax.Array, ...]:
        kernel, ids = _kernel(query_ids, key_ids, place)
        *heads, y, gradient, log = map(_joined, (_scaled(q), k, v, y, gradient, log))
        masks = kernel.dq_mask_info, kernel.dkv_mask_info
        saved = (*heads, ids, None, y, log, *masks)
        backward = _private()[0]._splash_attention_bwd
        _, _, _, *gradients, _, _ = backward(**kernel.kwargs, res=saved, do=gradient)
        return tuple(_parted(dx, x).astype(jnp.float32) for dx, x in zip(gradients, (q, k, v)))

    nobody = tuple(jnp.zeros(x.shape, jnp.float32) for x in (q, k, v))
    arrays = (q, k, v, y, gradient.astype(v.dtype), log)
    calls = _of_calls(attend, arrays, segments, place, nobody)
    gradients: list[Any] = [sum(parts) for parts in zip(*calls)]
    dq, dk, dv = gradients
    return dq * q.shape[-1] ** -0.5, dk, dv


PIECES = Pieces(_forward_piece, _backward_piece)


def _of_calls(
    attend: Callable, arrays: tuple, segments: Segments, ahead: Ahead | None, nobody: Any
) -> list:
    """attend(*arrays, query_ids B L, key_ids B S) of each call; `nobody` where none sees a key.

    The kernel is not started for `nobody`: even a dead block takes a step, and in a long ring most
    parts of the keys have only dead blocks.
    """

    def one_call(*ids: jax.Array) -> Any:
        query_ids, key_ids = (x[:, None] for x in ids)  # rows of one block
        seen = live_blocks_of_rows(query_ids, key_ids, ahead).any()
        alive = lambda *arguments: _by_groups(attend, *arguments)
        return jax.lax.cond(seen, alive, lambda *_: nobody, *arrays, *ids)

    return [one_call(call.query, call.keys) for call in segments.calls()]


def _by_groups(attend: Callable, *arguments: jax.Array) -> Any:
    """attend(*arguments) of as many rows at a time as can be listed; the last two are the ids."""
    rows, (query_ids, key_ids) = len(arguments[0]), arguments[-2:]
    blocks = [-(-x.shape[1] // block_size(x.shape[1])) for x in (query_ids, key_ids)]
    listed = blocks[0] * (blocks[1] + -blocks[1] % LANES)
    if listed > MOST_OF_ROW:
        lengths = query_ids.shape[1], key_ids.shape[1]
        raise ConfigError(
            f"{lengths[0]} queries and {lengths[1]} keys of a row on one device: more blocks than "
            "the splash kernel can list; cut rows by mesh.ring, or set compute.attention='blocked'"
        )
    most = max(MOST_LISTED // listed, 1)
    if rows <= most:
        return attend(*arguments)
    group = next(n for n in range(most, 0, -1) if rows % n == 0)
    grouped = [x.reshape(rows // group, group, *x.shape[1:]) for x in arguments]
    found = jax.lax.map(lambda group: attend(*group), grouped)
    return jax.tree.map(lambda x: x.reshape(rows, *x.shape[2:]), found)


def _joined(x: jax.Array) -> jax.Array:
    """Rows B L N ..., filled up to whole blocks, one behind the other: N (B L) ..."""
    x = _filled(x, block_size(x.shape[1]), 0)
    return jnp.moveaxis(x, 2, 0).reshape(x.shape[2], -1, *x.shape[3:])


def _parted(x: jax.Array, like: jax.Array) -> jax.Array:
    """The inverse of `_joined`, for an array of the shape of `like`."""
    x = x.reshape(len(x), len(like), -1, *x.shape[2:])
    return jnp.moveaxis(x, 0, 2)[:, : like.shape[1]]


def _nothing(q: jax.Array) -> jax.Array:
    return jnp.full(q.shape[2], NOTHING, jnp.float32)


def _kernel(
    query_ids: jax.Array, key_ids: jax.Array, ahead: Ahead | None, save_residuals: bool = False
) -> tuple[Any, Any]:
    """The kernel of jax for joined rows, with lists of the blocks live within each, and its ids.

    query_ids: B L; key_ids: B S; ahead: of causal segments, see nn/ring.py:Pieces, else None. Each
    block of queries visits the blocks of keys of its own row.
    """
    kernel, info = _private()
    query_block, key_block = block_size(query_ids.shape[1]), block_size(key_ids.shape[1])
    query_ids = _filled(query_ids, query_block, NOBODY)
    key_ids = _filled(key_ids, key_block, NO_KEY)
    in_blocks = lambda ids, block: ids.reshape(len(ids), -1, block)
    ids_in_blocks = in_blocks(query_ids, query_block), in_blocks(key_ids, key_block)
    live = live_blocks_of_rows(*ids_in_blocks, ahead)
    live_of_keys = live.swapaxes(1, 2)
    mask = lambda live, following: info.MaskInfo(
        data_next=following[None],
        mask_next=None,
        block_mask=jnp.where(live, 2, 0)[None].astype(jnp.int32),  # 2: no mask stored for it
        partial_mask_blocks=None,
        q_sequence=None if ahead is None else _last_seen(query_ids, key_ids, ahead),
    )
    joined = lambda x: x.reshape(-1, x.shape[2])
    by_query = mask(joined(live), joined(next_live(live)))
    by_key = mask(joined(live_of_keys).T, joined(next_live(live_of_keys)).T)
    sizes = kernel.BlockSizes(
        block_q=query_block,
        block_kv=key_block,
        block_q_dkv=query_block,
        block_kv_dkv=key_block,
        block_q_dq=query_block,
        block_kv_dq=key_block,
    )
    attend = kernel.SplashAttentionKernel(
        by_query,
        by_query,
        by_key,
        block_sizes=sizes,
        is_mqa=False,
        save_residuals=save_residuals,
        mask_value=kernel.DEFAULT_MASK_VALUE,
        attn_logits_soft_cap=None,
        residual_checkpoint_name=None if save_residuals else "attention",
        mask_function=None if ahead is None else _not_after,
        interpret=INTERPRET,
    )
    return attend, kernel.SegmentIds(query_ids.reshape(-1), key_ids.reshape(-1))


def _last_seen(query_ids: jax.Array, key_ids: jax.Array, ahead: jax.Array | int) -> jax.Array:
    """The last of the joined keys that each of the joined queries may see: (B L) int32."""
    rows, queries = query_ids.shape
    start = key_ids.shape[1] * jnp.arange(rows, dtype=jnp.int32)[:, None]
    return (start + ahead + jnp.arange(queries, dtype=jnp.int32)).reshape(-1)


def _not_after(last_seen: jax.Array, key: jax.Array) -> jax.Array:
    """The kernel's mask of causal segments. A function of the module, as jax compares it."""
    return last_seen >= key


def _scaled(q: jax.Array) -> jax.Array:
    return (q.astype(jnp.float32) * q.shape[-1] ** -0.5).astype(q.dtype)


def block_size(length: int) -> int:
    """Tokens of a block of a row of `length`."""
    most = BLOCK if length <= LONG else 2 * BLOCK
    return min(most, -(-length // LANES) * LANES)


def live_blocks(query_ids: jax.Array, key_ids: jax.Array) -> jax.Array:
    """Whether the ids of query block I (I L) and key block J (J S) overlap in range: I J bool."""
    most = jnp.iinfo(jnp.int32).max

    def extent(ids: jax.Array) -> tuple[jax.Array, jax.Array]:
        ids = jnp.where(ids == 0, most - 1, ids)  # padding, at the end of a row
        return jnp.where(ids < 0, most, ids).min(1), ids.max(1)

    (low, high), (key_low, key_high) = extent(query_ids), extent(key_ids)
    return (low[:, None] <= key_high) & (key_low <= high[:, None])


def live_blocks_of_rows(
    query_ids: jax.Array, key_ids: jax.Array, ahead: Ahead | None = None
) -> jax.Array:
    """`live_blocks` of each row, ids B I L and B J S: B I J bool.

    ahead: of causal segments, see nn/ring.py:Pieces. Blocks of keys that lie wholly behind those of
    the queries are dead then.
    """
    live = jax.vmap(live_blocks)(query_ids, key_ids)
    if ahead is None:
        return live
    (_, blocks, size), (_, key_blocks, key_size) = query_ids.shape, key_ids.shape
    last = ahead + size * (jnp.arange(blocks) + 1) - 1
    return live & (last[:, None] >= key_size * jnp.arange(key_blocks))


def next_live(live: jax.Array) -> jax.Array:
    """The next live entry of B I J, at or behind each in order: its row's B times J, and its J.

    While the kernel passes a dead block, it fetches the next live one; behind the last, the first.
    (In the pass for keys, which iterates over the heads of a block first, that fetch is unused.)
    """
    place = jnp.arange(live.size, dtype=jnp.int32)
    flat = live.reshape(-1)
    following = jax.lax.cummin(jnp.where(flat, place, live.size), reverse=True)
    following = jnp.where(following == live.size, jnp.argmax(flat), following)
    _, rows, columns = live.shape
    block = following // (rows * columns) * columns + following % columns
    return block.reshape(live.shape).astype(jnp.int32)


def _filled(x: jax.Array, block: int, fill: int) -> jax.Array:
    """x with the second axis filled up to a multiple of `block`."""
    widths = [(0, 0)] * x.ndim
    widths[1] = (0, -x.shape[1] % block)
    return jnp.pad(x, widths, constant_values=fill)


def _private() -> tuple[Any, Any]:
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel,
        splash_attention_mask_info,
    )

    return splash_attention_kernel, splash_attention_mask_info
