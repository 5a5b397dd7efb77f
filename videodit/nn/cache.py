"""Keys and values that are kept for later queries, and the cache in which a decoder keeps them.

The streaming autoencoder uses `KeysValues`. `Cache` is for autoregressive models such as a
captioner; no command uses it yet.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from videodit.config import ConfigError
from videodit.nn.segments import NO_KEY
from videodit.sharding import axis_size, spec


class KeysValues(NamedTuple):
    """What a layer of attention keeps of tokens that later ones attend to: B S N H each."""

    keys: jax.Array
    values: jax.Array


class Cache(NamedTuple):
    """What a stack of causal blocks keeps of the tokens so far: each row has R places.

    A row may hold several sequences, each a segment of its own. The places are filled in the order
    in which tokens arrive, so the sequences of a row interleave. Attention tells them apart by
    their segment ids.
    """

    keys_values: KeysValues  # depth B R N H
    segment_ids: jax.Array  # B R int32; NO_KEY where a place is free
    counts: jax.Array  # B int32, tokens that have arrived; above R if some found no place
    text: KeysValues | None = None  # of cross-attention: depth B S N H

    @property
    def room(self) -> int:
        """R, the places of a row."""
        return self.segment_ids.shape[1]


def filled_cache(
    new: KeysValues, segment_ids: jax.Array, room: int, text: KeysValues | None = None
) -> Cache:
    """A cache of `room` places a row that holds the tokens of `new`.

    new: depth B L N H; segment_ids: B L int32; text: see `Cache`. Raises ConfigError on a mesh that
    cuts rows.
    """
    if axis_size("length") > 1:
        raise ConfigError("a cache of keys needs whole rows: expected mesh.ring = mesh.context = 1")
    depth, rows, _, heads, size = new.keys.shape
    shape, names = (depth, rows, room, heads, size), (None, "batch", "length", "heads", None)
    zeros = jnp.zeros(shape, new.keys.dtype, out_sharding=spec(*names))
    ids = jnp.full((rows, room), NO_KEY, jnp.int32, out_sharding=spec("batch", "length"))
    counts = jnp.zeros(rows, jnp.int32, out_sharding=spec("batch"))
    return extended(Cache(KeysValues(zeros, zeros), ids, counts, text), new, segment_ids)


def extended(cache: Cache, new: KeysValues, segment_ids: jax.Array) -> Cache:
    """The cache with the tokens of `new` in the next places of their rows.

    new: depth B L N H; segment_ids: B L int32. Padding (id 0) takes no place. A token that finds no
    free place is lost, but counts.
    """
    old = cache.keys_values, cache.segment_ids, cache.counts
    arguments = old, (new, segment_ids)
    if spec() is None:
        found = _put(*arguments)
    else:
        kept: Any = spec(None, "batch", "length", "heads", None)
        ids = spec("batch", "length")
        specs = (KeysValues(kept, kept), ids, spec("batch")), (KeysValues(kept, kept), ids)
        arguments = jax.tree.map(jax.reshard, arguments, specs)
        # Unchecked: counts do not name the axes that cut rows, which have a size of 1 here.
        put = jax.shard_map(_put, in_specs=specs, out_specs=specs[0], check_vma=False)
        found = put(*arguments)
    return Cache(*found, cache.text)


def _put(
    old: tuple[KeysValues, jax.Array, jax.Array], new: tuple[KeysValues, jax.Array]
) -> tuple[KeysValues, jax.Array, jax.Array]:
    """(keys and values, ids, counts) with (keys and values, ids) added, in arrays of one device."""
    (kept, kept_ids, counts), (keys_values, ids) = old, new
    there, (_, room) = ids > 0, kept_ids.shape
    places = counts[:, None] + jnp.cumsum(there, axis=1) - 1
    nowhere = room + jnp.arange(ids.shape[1])  # each one once, because places must be unique
    places = jnp.where(there & (places < room), places, nowhere)
    put = jax.vmap(lambda row, at, x: row.at[at].set(x, mode="drop", unique_indices=True))
    in_layers = jax.vmap(put, in_axes=(0, None, 0))
    kept = jax.tree.map(lambda row, x: in_layers(row, places, x), kept, keys_values)
    return kept, put(kept_ids, places, ids), counts + there.sum(axis=1, dtype=jnp.int32)
