"""Digests of the values of arrays, which are the same on any mesh."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp

from videodit.sharding import to_device


def digest(tree: Any) -> str:
    """16 hexadecimal digits of the names, shapes, dtypes and every bit of a tree of arrays.

    The numbers have 1, 2 or 4 bytes each. The arrays are read once, on their devices.
    """
    return digests({"": tree})[""]


def digests(trees: dict[str, Any]) -> dict[str, str]:
    """`digest` of each tree, by one program."""
    sums = jax.device_get(_sums(trees))
    return {name: _hashed(tree, sums[name]) for name, tree in trees.items()}


def _hashed(tree: Any, sums: Any) -> str:
    parts = zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(sums))
    text = [
        (jax.tree_util.keystr(path), leaf.shape, str(leaf.dtype), sums.tolist())
        for (path, leaf), sums in parts
    ]
    return hashlib.blake2b(repr(text).encode(), digest_size=8).hexdigest()


@jax.jit
def _sums(tree: Any) -> Any:
    return jax.tree.map(_leaf, to_device(tree))


def _leaf(x: jax.Array) -> jax.Array:
    """Two sums over all elements of a hash of (value, place): uint32, shape (2,).

    Sums modulo 2**32 do not depend on the order of the elements, hence not on the sharding. The
    hash is the finaliser of MurmurHash3.
    """
    x = x.astype(jnp.uint8) if x.dtype == jnp.bool_ else x
    kind = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(x, kind).astype(jnp.uint32)
    place, size = jnp.zeros(x.shape, jnp.uint32), 1
    for axis in reversed(range(x.ndim)):
        step = jnp.uint32(size % 2**32)
        place += step * jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        size *= x.shape[axis]
    h = (bits ^ (place * jnp.uint32(0x9E3779B1))) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    h ^= h >> 16
    other = (h ^ bits) * jnp.uint32(0x27D4EB2F)
    return jnp.stack([h.sum(dtype=jnp.uint32), other.sum(dtype=jnp.uint32)])
