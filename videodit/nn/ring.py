"""Segment attention over parts of a row: queries stay, keys travel (arXiv:2310.01889).

Inside a `shard_map` whose axis "ring" holds the parts in order. In each of n steps a device attends
to the keys it has at hand while these are on their way to the next device; the last step's keys
stay. What it gets is merged by the log-sum-exp of the logits. In the backward pass the keys travel
once more, and their gradients with them (the first time they are zeros: one send more than needed,
for a program of half the size).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

AXIS = "ring"


class Pieces(NamedTuple):
    """Attention to a part of the keys, in arrays of one device: B L N H, B S N H; ids B L C, B S C.

    A query that sees none of them has a mean of 0 and a log-sum-exp near -1e30. Keys that no query
    sees should cost nothing: in most steps of a long ring there are no others.
    """

    forward: Callable  # (q, k, v, query_ids, key_ids) -> means B L N H, log-sum-exp B L N; float32
    # (q, k, v, query_ids, key_ids, y, log, gradient) -> dq, dk, dv float32, with the output, the
    # log-sum-exp and the output's gradient of the whole row.
    backward: Callable


def ring_attention(pieces: Pieces):
    """Attention `(q, k, v, query_ids, key_ids) -> y`, of which each device holds its part.

    y: B L N H in the dtype of v. Sums, and gradients on their way, are float32.
    """

    @jax.custom_vjp
    def attend(q, k, v, query_ids, key_ids):
        return forward(q, k, v, query_ids, key_ids)[0]

    def forward(q, k, v, query_ids, key_ids):
        def add(sums, keys):
            return merge(sums, pieces.forward(q, *keys[:2], query_ids, keys[2]))

        nothing = 0 * q.astype(jnp.float32)  # and not zeros: it varies over the mesh as q does
        y, log = _around(add, (nothing, nothing[..., 0] - 1e30), (k, v, key_ids))
        y, log = (checkpoint_name(x, "attention") for x in (y.astype(v.dtype), log))
        return y, (q, k, v, query_ids, key_ids, y, log)

    def backward(saved, gradient):
        q, k, v, query_ids, key_ids, y, log = saved

        def add(gradients, keys):
            dq, dkv = gradients
            more = pieces.backward(q, *keys[:2], query_ids, keys[2], y, log, gradient)
            dq, *dkv = jax.tree.map(jnp.add, (dq, *_pass_on(dkv)), more)
            return dq, tuple(dkv)

        dq, dk, dv = (0 * x.astype(jnp.float32) for x in (q, k, v))
        dq, dkv = _around(add, (dq, (dk, dv)), (k, v, key_ids))
        dk, dv = _pass_on(dkv)
        return dq.astype(q.dtype), dk.astype(k.dtype), dv.astype(v.dtype), None, None

    attend.defvjp(forward, backward)
    return attend


def gather_keys(local):
    """`local` attention to the keys of all parts: less traffic where keys are few."""

    def attend(q, k, v, query_ids, key_ids):
        keys = [jax.lax.all_gather(x, AXIS, axis=1, tiled=True) for x in (k, v, key_ids)]
        return local(q, *keys[:2], query_ids, keys[2])

    return attend


def _around(add, sums, keys):
    """What `add(sums, keys)` makes of the keys of every device of the ring, one after the other."""

    def step(carry, _):
        sums, keys = carry
        onward = _pass_on(keys)
        return (add(sums, keys), onward), None

    (sums, keys), _ = jax.lax.scan(step, (sums, keys), length=jax.lax.axis_size(AXIS) - 1)
    return add(sums, keys)


def _pass_on(tree):
    """Every device's arrays at the next one."""
    n = jax.lax.axis_size(AXIS)
    return jax.lax.ppermute(tree, AXIS, [(i, (i + 1) % n) for i in range(n)])


def merge(a, b):
    """Means B L N H and log-sum-exp B L N over two sets of keys together, of those over each."""
    (y_a, log_a), (y_b, log_b) = a, b
    log = jnp.logaddexp(log_a, log_b)
    share_a, share_b = (jnp.exp(x - log)[..., None] for x in (log_a, log_b))
    return share_a * y_a + share_b * y_b, log
