"""Segments: who sees whom in attention; the order of tokens in which they are contiguous."""

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Segments:
    """Who sees whom: a query sees the keys of its row that carry the query's segment id.

    query: B L int32, the id of each query; or B L C for C calls of attention, in exactly one of
    which each query has an id other than NOBODY. 0 is padding, which sees only padding.
    key: B S or B S C int32, the id of each key. None if keys and queries are of the same tokens and
    have the same ids.
    orders: permutations of the queries and of the keys after which segments are contiguous, for
    rows in which they are not. They only make attention faster.
    most: a promise that each row has at most so many different key ids, and that the tokens of each
    id are contiguous. Static.
    causal: a query sees only the keys at its own place in the row or before. L queries are the last
    L of the S tokens that the keys are of (all of them, if L = S). Static.
    """

    query: jax.Array
    key: jax.Array | None = None
    orders: tuple[Order, Order] | None = None
    most: int | None = None
    causal: bool = False

    @property
    def keys(self) -> jax.Array:
        """The id of each key, also if they are those of the queries."""
        return self.query if self.key is None else self.key

    def by_call(self) -> "Segments":
        """The segments with an axis of calls: ids B L C, B S C, with C = 1 for ids B L, B S."""
        wide = lambda ids: ids if ids is None or ids.ndim == 3 else ids[..., None]
        return dataclasses.replace(self, query=wide(self.query), key=wide(self.key))

    def calls(self) -> list["Segments"]:
        """The segments of each call by itself, with ids B L and B S and without orders."""
        of_call = lambda ids, c: None if ids is None else ids[..., c]
        return [
            dataclasses.replace(
                self, query=self.query[..., c], key=of_call(self.key, c), orders=None
            )
            for c in range(self.query.shape[-1])
        ]


jax.tree_util.register_dataclass(
    Segments, data_fields=("query", "key", "orders"), meta_fields=("most", "causal")
)


def sorted_order(ids: jax.Array) -> Order:
    """The order in which ids (B L C int32) rise; tokens of the same id keep their order."""
    if spec() is not None:
        ids = jax.reshard(ids, spec("batch", None, None))
    forward = jnp.argsort(ids, axis=1, stable=True).astype(jnp.int32)
    return Order(forward, jnp.argsort(forward, axis=1).astype(jnp.int32))


def with_orders(segments: Segments) -> Segments:
    """`segments` with the orders in which the tokens of each segment are contiguous.

    The windows of a frame, for one, are not contiguous in a row of tokens: without orders,
    attention would have to visit all windows that a line of cells crosses.
    """
    by_call = segments.by_call()
    of_keys = sorted_order(by_call.keys)
    same_tokens = by_call.query.shape == by_call.keys.shape
    of_queries = of_keys if same_tokens else sorted_order(by_call.query)
    return dataclasses.replace(segments, orders=(of_queries, of_keys))


@jax.custom_vjp
def permuted(x: jax.Array, forward: jax.Array, inverse: jax.Array) -> jax.Array:
    """Token forward[b, i] of row b at place i: x is B L ..., forward and inverse are B L int32.

    The gradient is the inverse permutation, a gather. Autodiff would turn a gather into a
    scatter-add, which is slow because the compiler does not know that no place occurs twice.
    """
    row = lambda x, index: x.at[index].get(mode="promise_in_bounds", unique_indices=True)
    return jax.vmap(row)(x, forward)


def _permuted_forward(
    x: jax.Array, forward: jax.Array, inverse: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return permuted(x, forward, inverse), (forward, inverse)


def _permuted_backward(
    saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, None, None]:
    forward, inverse = saved
    return permuted(gradient, inverse, forward), None, None


permuted.defvjp(_permuted_forward, _permuted_backward)
