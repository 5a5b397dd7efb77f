"""The transformer block that every model is a stack of, and the stack.

`Stack.prefill` and `Stack.decode` are for autoregressive models such as a captioner; no command
uses them yet.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from videodit.config import ComputeConfig, ConfigError, nearest
from videodit.nn.attention import attention
from videodit.nn.cache import Cache, KeysValues, extended, filled_cache
from videodit.nn.layers import KERNEL_INIT, ZEROS, Dense, RMSNorm, layer_norm, to_tokens
from videodit.nn.segments import Segments
from videodit.sharding import axis_size


def _saves(*names: str) -> Callable[..., Any]:
    """A policy that keeps arrays with these names; "attention" includes the results of cuDNN."""
    by_name = jax.checkpoint_policies.save_only_these_names(*names)

    def policy(primitive: Any, *arguments: Any, **parameters: Any) -> Any:
        if "attention" in names and primitive.name.startswith("dot_product_attention_fwd"):
            return True
        return by_name(primitive, *arguments, **parameters)

    return policy


REMAT = {  # what is kept for the backward pass, from the fastest to the smallest
    "none": None,  # XLA decides
    # The results of matmuls and attention.
    "products": _saves("attention", "projection"),
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # attention runs twice
    "attention": _saves("attention"),
    "block": jax.checkpoint_policies.nothing_saveable,  # only the inputs of blocks
}

# Initial gates of unmodulated blocks (LayerScale, arXiv:2103.17239). With 1, a text encoder hides
# which word a token is, and an autoencoder learns more slowly.
GATE = 0.1


class StackShape(NamedTuple):
    """The size of a stack; heads x head_size need not equal the width."""

    depth: int
    width: int  # D
    heads: int  # N
    head_size: int  # H
    mlp: int  # F


class Conditions(NamedTuple):
    """What the blocks of a stack share: who sees whom, and what tokens are conditioned on."""

    rotary: tuple[jax.Array, jax.Array]  # (cos, sin), B L H/2
    segments: Segments  # of self-attention
    slot_one_hot: jax.Array | None = None  # B L K
    slots: jax.Array | None = None  # B K D, or with shared modulation B K 6 D
    text: jax.Array | None = None  # B S E
    text_segments: Segments | None = None  # of cross-attention: queries B L, keys B S
    odd_segments: Segments | None = None  # instead of `segments` in odd layers


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """layer_norm(x) (1 + scale) + shift, in the dtype of the modulation."""
    return (layer_norm(x) * (1 + scale) + shift).astype(shift.dtype)


class Attention(nnx.Module):
    """Self- or cross-attention with normalised queries and keys (QK-norm, arXiv:2302.05442)."""

    def __init__(
        self,
        shape: StackShape,
        compute: ComputeConfig,
        *,
        rngs: nnx.Rngs,
        keys_width: int | None = None,
        out: nnx.Initializer = KERNEL_INIT,
    ) -> None:
        inner, keys_width = shape.heads * shape.head_size, keys_width or shape.width
        self.head_size, self.implementation = shape.head_size, compute.attention
        dense = functools.partial(Dense, rngs=rngs, matmul=compute.matmul)
        self.query = dense(shape.width, inner, ("embed", "heads"))
        self.key = dense(keys_width, inner, ("embed", "heads"))
        self.value = dense(keys_width, inner, ("embed", "heads"))
        self.out = dense(inner, shape.width, ("heads", "embed"), init=out)
        self.query_norm, self.key_norm = RMSNorm(shape.head_size), RMSNorm(shape.head_size)

    def __call__(
        self,
        x: jax.Array,
        source: jax.Array | KeysValues,
        segments: Segments,
        rotary: tuple[jax.Array, jax.Array] | None = None,
        past: KeysValues | None = None,
    ) -> tuple[jax.Array, KeysValues]:
        """x: B L D attends to source: B S E, behind `past` keys if there are any.

        source may also be the keys and values of B S E. rotary only where x and source are the same
        tokens. Returns B L D, and the keys and values of source.
        """
        q = self.query_norm(self._heads(x, self.query), rotary)
        new = source if isinstance(source, KeysValues) else self.keys_values(source, rotary)
        seen = new if past is None else jax.tree.map(_behind, past, new)
        y = attention(q, seen.keys, seen.values, segments, self.implementation)
        y = self.out(y.reshape(*y.shape[:2], -1), "batch", "length", "act_embed")
        return checkpoint_name(y, "projection"), new

    def keys_values(
        self, source: jax.Array, rotary: tuple[jax.Array, jax.Array] | None = None
    ) -> KeysValues:
        """The keys and values of source: B S E."""
        keys, values = self._heads(source, self.key), self._heads(source, self.value)
        return KeysValues(self.key_norm(keys, rotary), values)

    def _heads(self, x: jax.Array, dense: Dense) -> jax.Array:
        y = checkpoint_name(dense(x, "batch", "length", "heads"), "projection")
        return y.reshape(*y.shape[:2], -1, self.head_size)


def _behind(past: jax.Array, new: Any) -> jax.Array:
    """Keys or values (B R N H) of earlier tokens, then those of new ones (B L N H)."""
    return jnp.concatenate([past, new], axis=1)


class MLP(nnx.Module):
    """Two layers with tanh-GELU between."""

    def __init__(self, shape: StackShape, compute: ComputeConfig, *, rngs: nnx.Rngs) -> None:
        dense = functools.partial(Dense, rngs=rngs, matmul=compute.matmul)
        self.up = dense(shape.width, shape.mlp, ("embed", "mlp"))
        self.down = dense(shape.mlp, shape.width, ("mlp", "embed"))

    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = checkpoint_name(self.up(x, "batch", "length", "mlp"), "projection")
        y = self.down(jax.nn.gelu(hidden), "batch", "length", "act_embed")
        return checkpoint_name(y, "projection")


class Modulation(nnx.Module):
    """Shift, scale and gate of attention and of mlp at each token: six arrays B L D.

    "block": a table of the noise slots made by a layer that `tables` initialises, by default to
    zero (adaLN-zero, DiT, arXiv:2212.09748). "shared": one such table for all blocks, plus this
    block's own offset (PixArt, arXiv:2310.00426). None: a learned constant with gates that start
    at GATE.
    """

    def __init__(
        self,
        width: int,
        kind: str | None,
        tables: nnx.Initializer = ZEROS,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.kind = kind
        if kind == "block":
            self.table = Dense(width, 6 * width, (None, "embed"), rngs=rngs, init=tables, bias=True)
        else:
            gates = jnp.zeros((2, 3, width)).at[:, 2].set(0.0 if kind else GATE)
            self.offset = nnx.Param(gates.reshape(6, width))

    def __call__(self, conditions: Conditions) -> tuple[jax.Array, ...]:
        if self.kind is None:
            return tuple(self.offset[...][:, None, None])
        slots, one_hot = conditions.slots, conditions.slot_one_hot
        assert slots is not None and one_hot is not None
        if self.kind == "shared":
            table = slots + self.offset[...].astype(slots.dtype)
        else:
            table = self.table(jax.nn.silu(slots), "batch", None, None)
            table = table.reshape(*table.shape[:2], 6, -1)
        # Six lookups: the gradient of a joint one would first concatenate six arrays.
        return tuple(to_tokens(one_hot, table[:, :, i]) for i in range(6))


class Block(nnx.Module):
    """Attention, cross-attention to the text if there is any, mlp; modulated and gated."""

    def __init__(
        self,
        shape: StackShape,
        compute: ComputeConfig,
        *,
        modulation: str | None,
        tables: nnx.Initializer,
        text_width: int | None,
        rngs: nnx.Rngs,
    ) -> None:
        self.modulation = Modulation(shape.width, modulation, tables, rngs=rngs)
        self.attention = Attention(shape, compute, rngs=rngs)
        self.cross = (
            Attention(shape, compute, rngs=rngs, keys_width=text_width, out=ZEROS)
            if text_width
            else None
        )
        self.mlp = MLP(shape, compute, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        c: Conditions,
        segments: Segments,
        past: KeysValues | None = None,
        text: KeysValues | None = None,
    ) -> tuple[jax.Array, KeysValues]:
        """x: B L D -> B L D in x's dtype, and the keys and values of the self-attention.

        segments: of self-attention in this layer. past: of earlier tokens, which the keys of
        segments cover first. text: the keys and values of c.text, if they are known already.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c)
        h = modulate(x, shift1, scale1)
        h, new = self.attention(h, h, segments, c.rotary, past)
        x = x + (gate1 * h).astype(x.dtype)
        if self.cross is not None:
            source = c.text if text is None else text
            assert source is not None and c.text_segments is not None
            h, _ = self.cross(layer_norm(x), source, c.text_segments)
            x = x + h.astype(x.dtype)
        h = self.mlp(modulate(x, shift2, scale2))
        return x + (gate2 * h).astype(x.dtype), new


class Stack(nnx.Module):
    """`shape.depth` blocks with stacked parameters, run by one scan with recomputation.

    Parameters come in the dtype of the matmuls, cast once a step (nn/functional.py). An iteration
    of the scan runs `compute.unroll` blocks. If it runs all of them, the arrays that are kept for
    the backward pass are not copied, but compilation takes longer.
    """

    def __init__(
        self,
        shape: StackShape,
        compute: ComputeConfig,
        *,
        rngs: nnx.Rngs,
        modulation: str | None = None,
        tables: nnx.Initializer = ZEROS,
        text_width: int | None = None,
    ) -> None:
        """`modulation`, `tables`: as `Modulation` says. `text_width`: None for no text.

        Raises ConfigError for an unknown compute.remat.
        """
        check_remat(compute)
        self.residual_dtype, self.remat = compute.residual_dtype, compute.remat
        self.depth, self.unroll = shape.depth, min(compute.unroll, shape.depth)

        def make(block_rngs: nnx.Rngs) -> Block:
            return Block(
                shape,
                compute,
                modulation=modulation,
                tables=tables,
                text_width=text_width,
                rngs=block_rngs,
            )

        self.blocks = jax.vmap(make)(rngs.split(shape.depth))

    def __call__(self, x: jax.Array, conditions: Conditions) -> jax.Array:
        """x: B L D -> B L D in the residual dtype."""

        def body(x: jax.Array, layer: Any) -> tuple[jax.Array, None]:
            block, odd = layer
            return block(x, conditions, _segments(conditions, odd))[0], None

        if self.remat != "none":
            # Within an iteration, CSE would undo the recomputation.
            body = jax.checkpoint(body, prevent_cse=self.unroll > 1, policy=REMAT[self.remat])
        layers = (self.blocks, self._odd())
        return jax.lax.scan(body, x.astype(self.residual_dtype), layers, unroll=self.unroll)[0]

    def stream(
        self,
        x: jax.Array,
        conditions: Conditions,
        past: KeysValues | None = None,
        text: KeysValues | None = None,
    ) -> tuple[jax.Array, KeysValues]:
        """As `__call__`, for tokens that also attend to the keys and values of earlier ones.

        past: depth B S N H each, or None; the key ids of the segments are those of the past tokens
        first. text: depth B S N H each, as of `text_keys_values`; None computes them. Returns
        B L D, and the keys and values of x. The streaming autoencoder, which attends to one chunk
        back, uses them as the next past; a decoder adds them to its `Cache`.
        """

        def body(x: jax.Array, layer: Any) -> tuple[jax.Array, KeysValues]:
            block, odd, past, text = layer
            return block(x, conditions, _segments(conditions, odd), past, text)

        layers = (self.blocks, self._odd(), past, text)
        return jax.lax.scan(body, x.astype(self.residual_dtype), layers)

    def prefill(self, x: jax.Array, conditions: Conditions, room: int) -> tuple[jax.Array, Cache]:
        """As `__call__`, and a cache with `room` places a row in which x is kept for `decode`.

        x: B L D, any number of sequences a row, such as packed prompts; conditions.segments are
        causal. Padding is not kept.
        """
        text = None if conditions.text is None else self.text_keys_values(conditions.text)
        y, new = self.stream(x, conditions, text=text)
        return y, filled_cache(new, conditions.segments.query, room, text)

    def decode(self, x: jax.Array, conditions: Conditions, cache: Cache) -> tuple[jax.Array, Cache]:
        """The next tokens of the sequences in a cache, and the cache with them in it.

        x: B L D, such as one token of each sequence; conditions.segments.query: B L, the sequence
        that each token continues, or 0 for padding. conditions.text is not read: the cache has its
        keys and values. Returns B L D, NaN in a row whose tokens found no place in the cache. All
        calls of one shape are one compiled program; donate the cache, so that it is not copied.
        """
        own = conditions.segments.query
        keys = jnp.concatenate([cache.segment_ids, own], axis=1)
        conditions = conditions._replace(segments=Segments(own, keys, causal=True))
        y, new = self.stream(x, conditions, cache.keys_values, cache.text)
        cache = extended(cache, new, own)
        fits = (cache.counts <= cache.room)[:, None, None]
        return jnp.where(fits, y, jnp.nan), cache

    def text_keys_values(self, text: jax.Array) -> KeysValues:
        """The keys and values of cross-attention to text, B S E: depth B S N H each."""
        return jax.lax.map(lambda block: block.cross.keys_values(text), self.blocks)

    def _odd(self) -> jax.Array:
        return jnp.arange(self.depth) % 2 == 1


def _segments(conditions: Conditions, odd: jax.Array) -> Segments:
    """The segments of self-attention in an odd or even layer."""
    if conditions.odd_segments is None:
        return conditions.segments
    pick = lambda even, other: jnp.where(odd, other, even)
    return jax.tree.map(pick, conditions.segments, conditions.odd_segments)


def check_remat(compute: ComputeConfig) -> None:
    """Raises ConfigError for an unknown compute.remat."""
    if compute.remat not in REMAT:
        hint = nearest(compute.remat, REMAT)
        raise ConfigError(f"unknown compute.remat={compute.remat!r}: {hint}")


def check_shape(shape: StackShape) -> None:
    """Raises ConfigError if the mesh cannot share out the heads, mlp or width of this shape."""
    further = " (rows are also parted by mesh.ring, which asks nothing of heads)"
    for what, size, axis, axes, hint in (
        ("a number of heads", shape.heads, "attention_heads", "tensor x context", further),
        ("an mlp", shape.mlp, "mlp", "tensor", ""),
        ("a width", shape.width, "embed", "fsdp", ""),
    ):
        if size % axis_size(axis):
            raise ConfigError(
                f"a stack with {what} of {size} does not divide over the mesh: "
                f"expected a multiple of {axes} = {axis_size(axis)}{hint}"
            )
