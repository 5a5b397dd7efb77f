"""Segment ids, and the order of the tokens of a row in which segments are contiguous."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from videodit.sharding import spec

NOBODY = -1  # id of a query that takes no part in a call; no key carries it
NO_KEY = -2  # id of a key that is not there


class Order(NamedTuple):
    """A permutation of the tokens of each row for each call, and its inverse: B L C int32."""

    forward: jax.Array
    inverse: jax.Array


def sorted_order(ids) -> Order:
    """The order in which ids (B L C int32) rise, and tokens of the same id keep theirs."""
    if spec() is not None:
        ids = jax.reshard(ids, spec("batch", None, None))
    forward = jnp.argsort(ids, axis=1, stable=True).astype(jnp.int32)
    return Order(forward, jnp.argsort(forward, axis=1).astype(jnp.int32))


@jax.custom_vjp
def permuted(x, forward, inverse):
    """Token forward[b, i] of row b at place i: x is B L ..., forward and inverse are B L int32.

    The gradient is the inverse permutation, a gather: what autodiff makes of a gather is a
    scatter-add, which is slow where it is not known that no two places are the same.
    """
    row = lambda x, index: x.at[index].get(mode="promise_in_bounds", unique_indices=True)
    return jax.vmap(row)(x, forward)


def _permuted_forward(x, forward, inverse):
    return permuted(x, forward, inverse), (forward, inverse)


def _permuted_backward(saved, gradient):
    forward, inverse = saved
    return permuted(gradient, inverse, forward), None, None


permuted.defvjp(_permuted_forward, _permuted_backward)
