"""Ring attention over packed rows (arXiv:2310.01889).

It runs inside a `shard_map` whose axis "ring" holds the parts of a row in order. Keys and values
are passed around the ring by collective permutes. In each of n steps, a device attends to the keys
that it holds while it sends them to the next device; the keys of the last step are not sent. The
results of the steps are merged by the log-sum-exp of the logits. The backward pass passes the keys
and values around again, together with their gradients. (The first permute of the gradients sends
zeros: one send more than needed, for a program of half the size.)
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from videodit.nn.segments import Segments

AXIS = "ring"
Ahead = jax.Array | int  # see Pieces


class Pieces(NamedTuple):
    """Attention to a part of the keys, in arrays of one device: B L N H, B S N H; ids B L C, B S C.

    ahead: int32, the place in the row of the first query minus that of the first key, which decides
    what causal queries see. A query that sees none of the keys has a mean of 0 and a log-sum-exp
    near -1e30. Keys that no query sees should cost nothing: most steps of a long ring have no
    others.
    """

    # (q, k, v, segments, ahead) -> means B L N H, log-sum-exp B L N; float32
    forward: Callable
    # (q, k, v, segments, ahead, y, log, gradient) -> dq, dk, dv float32, with the output, the
    # log-sum-exp and the output's gradient of the whole row.
    backward: Callable


class _Keys(NamedTuple):
    """What is passed around the ring: the keys and values of one part."""

    k: jax.Array
    v: jax.Array
    ids: jax.Array
    first: jax.Array | None  # int32, the place of its first key; only if segments are causal


def ring_attention(pieces: Pieces) -> Callable:
    """Ring attention `(q, k, v, segments) -> y`; each device holds its part of every array.

    y: B L N H in the dtype of v. Sums and the gradients that are passed around are float32.
    """

    @jax.custom_vjp
    def attend(q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments) -> jax.Array:
        return forward(q, k, v, segments)[0]

    def forward(
        q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments
    ) -> tuple[jax.Array, Any]:
        def add(sums: tuple[jax.Array, jax.Array], keys: _Keys) -> tuple[jax.Array, jax.Array]:
            return merge(sums, pieces.forward(q, keys.k, keys.v, *_met(segments, keys)))

        nothing = 0 * q.astype(jnp.float32)  # and not zeros: it varies over the mesh as q does
        y, log = _around(add, (nothing, nothing[..., 0] - 1e30), _own_keys(k, v, segments))
        y, log = (checkpoint_name(x, "attention") for x in (y.astype(v.dtype), log))
        return y, (q, k, v, segments, y, log)

    def backward(saved: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None]:
        q, k, v, segments, y, log = saved

        def add(gradients: Any, keys: _Keys) -> Any:
            dq, dkv = gradients
            seen = _met(segments, keys)
            more = pieces.backward(q, keys.k, keys.v, *seen, y, log, gradient)
            dq, *dkv = jax.tree.map(jnp.add, (dq, *_pass_on(dkv)), more)
            return dq, tuple(dkv)

        dq, dk, dv = (0 * x.astype(jnp.float32) for x in (q, k, v))
        dq, dkv = _around(add, (dq, (dk, dv)), _own_keys(k, v, segments))
        dk, dv = _pass_on(dkv)
        return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None

    attend.defvjp(forward, backward)
    return attend


def gather_keys(local: Callable) -> Callable:
    """`local` attention to the keys of all parts: less traffic where keys are few."""

    def attend(q: jax.Array, k: jax.Array, v: jax.Array, segments: Segments) -> jax.Array:
        k, v, ids = (jax.lax.all_gather(x, AXIS, axis=1, tiled=True) for x in (k, v, segments.keys))
        return local(q, k, v, dataclasses.replace(segments, key=ids))

    return attend


def _own_keys(k: jax.Array, v: jax.Array, segments: Segments) -> _Keys:
    """The keys that a device holds before the first step."""
    first = jax.lax.axis_index(AXIS) * k.shape[1] if segments.causal else None
    return _Keys(k, v, segments.keys, first)


def _met(segments: Segments, keys: _Keys) -> tuple[Segments, jax.Array | int]:
    """Segments of a device's queries and of `keys`, and `ahead` of `Pieces`."""
    met = dataclasses.replace(segments, key=keys.ids)
    if keys.first is None:
        return met, 0
    # Queries are the last of the keys' tokens.
    parts, queries = jax.lax.axis_size(AXIS), segments.query.shape[1]
    before = parts * (keys.ids.shape[1] - queries)
    return met, before + jax.lax.axis_index(AXIS) * queries - keys.first


def _around(add: Callable[[Any, _Keys], Any], sums: Any, keys: _Keys) -> Any:
    """Applies `add(sums, keys)` to the keys of every device of the ring, one after the other."""

    def step(carry: Any, _: Any) -> tuple[Any, None]:
        sums, keys = carry
        onward = _pass_on(keys)
        return (add(sums, keys), onward), None

    (sums, keys), _ = jax.lax.scan(step, (sums, keys), length=jax.lax.axis_size(AXIS) - 1)
    return add(sums, keys)


def _pass_on(tree: Any) -> Any:
    """Sends the arrays of every device to the next one."""
    n = jax.lax.axis_size(AXIS)
    return jax.lax.ppermute(tree, AXIS, [(i, (i + 1) % n) for i in range(n)])


def merge(
    a: tuple[jax.Array, jax.Array], b: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Merges the means B L N H and log-sum-exps B L N over two sets of keys."""
    (y_a, log_a), (y_b, log_b) = a, b
    log = jnp.logaddexp(log_a, log_b)
    share_a, share_b = (jnp.exp(x - log)[..., None] for x in (log_a, log_b))
    return share_a * y_a + share_b * y_b, log
