"""The transformer block that every model is a stack of, and the stack."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from videodit.config import ComputeConfig, ConfigError, nearest
from videodit.nn.attention import attention
from videodit.nn.layers import KERNEL_INIT, ZEROS, Dense, RMSNorm, layer_norm, to_tokens
from videodit.nn.rope import rotate
from videodit.nn.windows import Ids
from videodit.sharding import axis_size

REMAT = {
    "none": jax.checkpoint_policies.everything_saveable,
    "block": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class StackShape(NamedTuple):
    """The size of a stack; heads x head_size need not equal the width."""

    depth: int
    width: int  # D
    heads: int  # N
    head_size: int  # H
    mlp: int  # F


class KeysValues(NamedTuple):
    """What a layer of attention keeps of tokens that later ones attend to: B S N H each."""

    keys: jax.Array
    values: jax.Array


class Conditions(NamedTuple):
    """What the blocks of a stack share: where tokens are, and what they are conditioned on."""

    rotary: tuple  # (cos, sin), B L H/2
    segment_ids: jax.Array  # B L
    slot_one_hot: jax.Array | None = None  # B L K
    slots: jax.Array | None = None  # B K D, or with shared modulation B K 6 D
    text: jax.Array | None = None  # B S E
    text_segment_ids: jax.Array | None = None  # B S
    # Instead of segment_ids within the row: the ids of even and of odd layers.
    windows: tuple[Ids, Ids] | None = None


def modulate(x, shift, scale):
    """layer_norm(x) (1 + scale) + shift, in the dtype of the modulation."""
    return (layer_norm(x) * (1 + scale) + shift).astype(shift.dtype)


class Attention(nnx.Module):
    """Self- or cross-attention with normalised queries and keys (QK-norm, arXiv:2302.05442)."""

    def __init__(self, shape: StackShape, compute, *, rngs, keys_width=None, out=KERNEL_INIT):
        inner, keys_width = shape.heads * shape.head_size, keys_width or shape.width
        self.head_size, self.implementation = shape.head_size, compute.attention
        self.query = Dense(shape.width, inner, ("embed", "heads"), rngs=rngs)
        self.key = Dense(keys_width, inner, ("embed", "heads"), rngs=rngs)
        self.value = Dense(keys_width, inner, ("embed", "heads"), rngs=rngs)
        self.out = Dense(inner, shape.width, ("heads", "embed"), rngs=rngs, init=out)
        self.query_norm, self.key_norm = RMSNorm(shape.head_size), RMSNorm(shape.head_size)

    def __call__(self, x, source, ids: Ids, rotary=None, past: KeysValues | None = None):
        """x: B L D attends to source: B S E, behind `past` keys if there are any.

        rotary only where both are the same tokens. Returns B L D and the keys and values of source.
        """
        q, k, v = (
            self._heads(x, self.query),
            self._heads(source, self.key),
            self._heads(source, self.value),
        )
        q, k = self.query_norm(q), self.key_norm(k)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        new = KeysValues(k, v)
        if past is not None:
            k, v = (jnp.concatenate(parts, axis=1) for parts in zip(past, new))
        y = attention(
            q,
            k,
            v,
            query_segment_ids=ids.query,
            key_segment_ids=ids.key,
            implementation=self.implementation,
            orders=ids.orders,
        )
        return self.out(y.reshape(*y.shape[:2], -1), "batch", "length", "act_embed"), new

    def _heads(self, x, dense):
        y = dense(x, "batch", "length", "heads")
        return y.reshape(*y.shape[:2], -1, self.head_size)


class MLP(nnx.Module):
    """Two layers with tanh-GELU between."""

    def __init__(self, shape: StackShape, *, rngs):
        self.up = Dense(shape.width, shape.mlp, ("embed", "mlp"), rngs=rngs)
        self.down = Dense(shape.mlp, shape.width, ("mlp", "embed"), rngs=rngs)

    def __call__(self, x):
        hidden = jax.nn.gelu(self.up(x, "batch", "length", "mlp"))
        return self.down(hidden, "batch", "length", "act_embed")


class Modulation(nnx.Module):
    """Shift, scale and gate of attention and mlp at each token: B L 6 D.

    "block": a table of the noise slots made by a zero-initialised layer (adaLN-zero, DiT,
    arXiv:2212.09748). "shared": one such table for all blocks, plus this block's own offset
    (PixArt, arXiv:2310.00426). None: a learned constant with gates at 1.
    """

    def __init__(self, width, kind, *, rngs):
        self.kind = kind
        if kind == "block":
            self.table = Dense(width, 6 * width, (None, "embed"), rngs=rngs, init=ZEROS, bias=True)
        else:
            gates = jnp.zeros((2, 3, width)).at[:, 2].set(0.0 if kind else 1.0)
            self.offset = nnx.Param(gates.reshape(6, width))

    def __call__(self, conditions: Conditions):
        if self.kind is None:
            return self.offset[...][None, None]
        if self.kind == "shared":
            table = conditions.slots + self.offset[...].astype(conditions.slots.dtype)
        else:
            table = self.table(jax.nn.silu(conditions.slots), "batch", None, None)
            table = table.reshape(*table.shape[:2], 6, -1)
        return to_tokens(conditions.slot_one_hot, table)


class Block(nnx.Module):
    """Attention, cross-attention to the text if there is any, mlp; modulated and gated."""

    def __init__(self, shape, compute: ComputeConfig, *, modulation, text_width, rngs):
        self.modulation = Modulation(shape.width, modulation, rngs=rngs)
        self.attention = Attention(shape, compute, rngs=rngs)
        self.cross = (
            Attention(shape, compute, rngs=rngs, keys_width=text_width, out=ZEROS)
            if text_width
            else None
        )
        self.mlp = MLP(shape, rngs=rngs)

    def __call__(self, x, c: Conditions, ids: Ids, past: KeysValues | None = None):
        """x: B L D -> B L D in x's dtype, and the keys and values of the self-attention."""
        m = self.modulation(c)
        shift1, scale1, gate1, shift2, scale2, gate2 = (m[:, :, i] for i in range(6))
        h = modulate(x, shift1, scale1)
        h, new = self.attention(h, h, ids, c.rotary, past)
        x = x + (gate1 * h).astype(x.dtype)
        if self.cross is not None:
            h = layer_norm(x)
            h, _ = self.cross(h, c.text, Ids(c.segment_ids, c.text_segment_ids))
            x = x + h.astype(x.dtype)
        h = self.mlp(modulate(x, shift2, scale2))
        return x + (gate2 * h).astype(x.dtype), new


class Stack(nnx.Module):
    """`shape.depth` blocks, their parameters born stacked, run by one scan with recomputation."""

    def __init__(self, shape, compute: ComputeConfig, *, rngs, modulation=None, text_width=None):
        if compute.remat not in REMAT:
            hint = nearest(compute.remat, REMAT)
            raise ConfigError(f"unknown compute.remat={compute.remat!r}: {hint}")
        self.residual_dtype, self.remat = compute.residual_dtype, compute.remat
        self.depth = shape.depth

        def make(block_rngs):
            return Block(
                shape, compute, modulation=modulation, text_width=text_width, rngs=block_rngs
            )

        self.blocks = jax.vmap(make)(rngs.split(shape.depth))

    def __call__(self, x, conditions: Conditions):
        """x: B L D -> B L D in the residual dtype."""

        def body(x, layer):
            block, odd = layer
            return block(x, conditions, _ids(conditions, odd))[0], None

        body = jax.checkpoint(body, prevent_cse=False, policy=REMAT[self.remat])
        return jax.lax.scan(body, x.astype(self.residual_dtype), (self.blocks, self._odd()))[0]

    def stream(self, x, conditions: Conditions, past: KeysValues | None = None):
        """As `__call__`, for tokens that also attend to the keys and values of earlier ones.

        past: depth B S N H each, as an earlier call returned them, or None; the key ids of
        conditions.windows cover them first. Returns B L D, and the keys and values of x.
        """

        def body(x, layer):
            block, odd, layer_past = layer
            return block(x, conditions, _ids(conditions, odd), layer_past)

        return jax.lax.scan(body, x.astype(self.residual_dtype), (self.blocks, self._odd(), past))

    def _odd(self):
        return jnp.arange(self.depth) % 2 == 1


def _ids(conditions: Conditions, odd) -> Ids:
    """The segment ids of self-attention in an odd or even layer."""
    if conditions.windows is None:
        return Ids(conditions.segment_ids, conditions.segment_ids)
    return jax.tree.map(lambda a, b: jnp.where(odd, b, a), *conditions.windows)


def check_shape(shape: StackShape) -> None:
    """Raises ConfigError if the mesh cannot share out the heads, mlp or width of this shape."""
    for what, size, axis, axes in (
        ("a number of heads", shape.heads, "attention_heads", "tensor x context"),
        ("an mlp", shape.mlp, "mlp", "tensor"),
        ("a width", shape.width, "embed", "fsdp"),
    ):
        if size % axis_size(axis):
            raise ConfigError(
                f"a stack with {what} of {size} does not divide over the mesh: "
                f"expected a multiple of {axes} = {axis_size(axis)}"
            )
