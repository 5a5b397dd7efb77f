"""Segment attention by cuDNN's kernel for packed rows, which skips what is outside of a segment.

This file adapts a private part of jax, of the versions in `KNOWN`; no other file uses it.
"""

import functools
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from videodit.nn.segments import NO_KEY, Segments

KNOWN = ((0, 10, 2), (0, 13, 0))  # jax from the first, before the second
# Where the number of segments is not known. The kernel's softmax takes 4 N L bytes for each.
LEAST_SEGMENTS, MOST_SEGMENTS, TOKENS_OF_A_SEGMENT = 64, 256, 32
AHEAD_OF_TIME_VERSION = 92800  # of cuDNN, where no GPU can be asked
HOPPER_OR_NEWER = re.compile(r"\bG?(H|B)\d+")  # in the name of a device: H100, GH200, B200


class Table(NamedTuple):
    """The segments of each row that have queries and keys, int32; -1 where there is none.

    Lengths are B M, offsets of the first tokens B M+1 without a closing end (with which cuDNN's
    results are wrong).
    """

    query_lengths: jax.Array
    key_lengths: jax.Array
    query_offsets: jax.Array
    key_offsets: jax.Array


def likely_segments(length: int) -> int:
    """Segments in the table of a row of `length` keys; rows with more use "blocked"."""
    return min(max(length // TOKENS_OF_A_SEGMENT, LEAST_SEGMENTS), MOST_SEGMENTS)


def segment_table(query_ids: jax.Array, key_ids: jax.Array, most: int) -> tuple[Table, jax.Array]:
    """At most `most` segments of rows of ids B L and B S int32, and whether they are all of them.

    The second is a bool: no row has more, and in each row the keys of a segment are contiguous and
    its queries too. Keys of negative ids are of no segment. The table is made by comparisons, as a
    sort or a scatter would cost more.
    """
    first = (jnp.diff(key_ids, axis=1, prepend=NO_KEY) != 0) & (key_ids >= 0)
    run = jnp.cumsum(first, axis=1)[..., None] == jnp.arange(1, most + 1)  # B S M
    ids = jnp.where(run & first[..., None], key_ids[..., None], 0).sum(1)  # B M
    there = run.any(1)
    key_lengths, key_offsets, key_ends = _extent(key_ids[..., None] == ids[:, None])
    query_lengths, query_offsets, query_ends = _extent(query_ids[..., None] == ids[:, None])
    contiguous = (key_ends - key_offsets == key_lengths) & (
        query_ends - query_offsets == query_lengths
    )
    used = there & (query_lengths > 0) & (key_lengths > 0)
    complete = (contiguous | ~used).all() & (first.sum(1) <= most).all()
    clear = lambda x: jnp.where(used, x, -1).astype(jnp.int32)
    offsets = lambda x: jnp.pad(clear(x), ((0, 0), (0, 1)), constant_values=-1)
    table = Table(
        clear(query_lengths), clear(key_lengths), offsets(query_offsets), offsets(key_offsets)
    )
    return table, complete


def _extent(member: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Number, first and one behind the last of the members (B L M bool) along L, B M each."""
    place = jnp.arange(member.shape[1])[:, None]
    first = jnp.where(member, place, member.shape[1]).min(1)
    return member.sum(1), first, jnp.where(member, place + 1, 0).max(1)


def missing() -> str:
    """Why this jax cannot be used; "" if it can."""
    if not KNOWN[0] <= jax.__version_info__ < KNOWN[1]:
        least, most = (".".join(map(str, version)) for version in KNOWN)
        return f"cuDNN's packed layout is known of jax {least} to {most}, not of {jax.__version__}"
    try:
        _private()
    except ImportError as error:
        return f"jax {jax.__version__} has no packed layout of cuDNN: {error}"
    return ""


def is_hopper_or_newer(kind: str) -> bool:
    """Whether a device by its name, such as "NVIDIA H100 80GB HBM3", has the packed layout."""
    return bool(HOPPER_OR_NEWER.search(kind))


def refusal(q: jax.Array, segments: Segments) -> str:
    """Why cuDNN does not take heads like those of q (B L N H) and such segments; "" if it does."""
    size = q.shape[-1]
    if segments.causal and segments.key is not None:
        return "cuDNN counts places from the start of a segment, of keys and of queries alike"
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        return f"cuDNN takes 16 bits, not {q.dtype}"
    if size % 8 or size > 256:
        return f"cuDNN takes heads of a multiple of 8 up to 256, not of {size}"
    return ""


def packed_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, table: Table, causal: bool = False
) -> jax.Array:
    """Attention within the segments of `table`; 0 at queries of no segment, and no gradient.

    q: B L N H; k, v: B S N H, of a dtype and head size that `refusal` lets pass. causal: the i-th
    query of a segment sees the keys of the segment up to its i-th. Returns B L N H.
    """
    queries = _covered(table.query_lengths, table.query_offsets, q.shape[1])
    keys = _covered(table.key_lengths, table.key_offsets, k.shape[1])
    q, k, v = (_masked_gradient(x, covered) for x, covered in ((q, queries), (k, keys), (v, keys)))
    return _masked_value(whole_attention(q, k, v, table, causal), queries)


@jax.custom_vjp
def _masked_gradient(x: jax.Array, covered: jax.Array) -> jax.Array:
    """x: B L N H; its gradient is 0 at tokens that are not covered (B L 1 1 bool).

    The kernel does not write the gradient at those tokens. It does not read x there either, so x
    needs no mask, which would be a copy.
    """
    return x


_masked_gradient.defvjp(
    lambda x, covered: (x, covered),
    lambda covered, gradient: (jnp.where(covered, gradient, 0), None),
)


@jax.custom_vjp
def _masked_value(y: jax.Array, covered: jax.Array) -> jax.Array:
    """y: B L N H, but 0 at tokens that are not covered (B L 1 1 bool).

    The kernel does not write y at those tokens. It does not read the gradient there either, so the
    gradient needs no mask.
    """
    return jnp.where(covered, y, 0)


_masked_value.defvjp(
    lambda y, covered: (_masked_value(y, covered), None),
    lambda _, gradient: (gradient, None),
)


def whole_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, table: Table, causal: bool = False
) -> jax.Array:
    """As `packed_attention`, where each query and each key is of a segment."""
    private, length = _private(), q.shape[1]
    masks = private.MaskType
    q, k, v = _even(q), _even(k), _even(v)
    y = private.dot_product_attention(
        q,
        k,
        v,
        q_seqlen=table.query_lengths,
        kv_seqlen=table.key_lengths,
        q_offsets=table.query_offsets,
        kv_offsets=table.key_offsets,
        scale=q.shape[-1] ** -0.5,
        mask_type=masks.PADDING_CAUSAL if causal else masks.PADDING,
    )
    return y[:, :length]


def _even(x: jax.Array) -> jax.Array:
    """x (B L N H) with an even number of tokens, as jax asks for: one more, of no segment."""
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0)))


def _covered(lengths: jax.Array, offsets: jax.Array, length: int) -> jax.Array:
    """A mask of the tokens of a row that belong to a segment: B L 1 1 bool."""
    place, start = jnp.arange(length)[:, None], offsets[:, None, :-1]
    inside = (start >= 0) & (start <= place) & (place < start + lengths[:, None])
    return inside.any(-1)[..., None, None]


@functools.cache
def _private() -> Any:
    """The module of jax with the call. Without a GPU, it compiles as for a Hopper GPU."""
    from jax._src.cudnn import fused_attention_stablehlo as module

    if jax.default_backend() != "gpu":  # compiled ahead of time
        module.check_cudnn_version = lambda: AHEAD_OF_TIME_VERSION
        module.check_compute_capability = lambda capability: capability == "9.0"
        module.is_cuda_compute_capability_equal = lambda capability: capability == "9.0"
    return module
