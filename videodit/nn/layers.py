"""Dense layer, normalisations, level embedding, and values of slots at their tokens and back.

Dimensions: B rows, L tokens of a row, S text tokens, M segments, K noise slots, D width,
N heads, H head size, F mlp width, P patch values.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from videodit.nn.low_precision import low_precision_matmul
from videodit.nn.rope import rotate
from videodit.sharding import spec, target_device

KERNEL_INIT = nnx.initializers.xavier_uniform()
ZEROS = nnx.initializers.zeros


class Dense(nnx.Module):
    """y = x W + b; `axes` are the logical names of W's two axes. The bias is whole everywhere.

    matmul: "" in the dtype of W, or as nn/low_precision.py:FORMATS.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        axes: tuple[str | None, str | None],
        *,
        rngs: nnx.Rngs,
        init: nnx.Initializer = KERNEL_INIT,
        bias: bool = False,
        matmul: str = "",
    ) -> None:
        kernel = init(rngs.params(), (inputs, outputs), jnp.float32, out_sharding=spec(*axes))
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jnp.zeros(outputs, jnp.float32)) if bias else None
        self.matmul = matmul

    def __call__(self, x: jax.Array, *names: str | None) -> jax.Array:
        """x: ... i -> ... o in the kernel's dtype; `names` are the logical axes of the output."""
        kernel = self.kernel[...]
        x = x.astype(kernel.dtype)
        if self.matmul:
            y = low_precision_matmul(x, kernel, self.matmul, names)
        else:
            y = jnp.einsum("...i,io->...o", x, kernel, out_sharding=spec(*names))
        return y if self.bias is None else y + self.bias[...]


def layer_norm(x: jax.Array) -> jax.Array:
    """Normalises the last axis to mean 0 and variance 1, in float32; no parameters."""
    wide = x.astype(jnp.float32)
    mean = wide.mean(-1, keepdims=True)
    if x.dtype.itemsize < 4:
        # One reduction: the cancellation error is below the rounding of 16-bit inputs.
        variance = jnp.square(wide).mean(-1, keepdims=True) - jnp.square(mean)
    else:
        variance = jnp.square(wide - mean).mean(-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.maximum(variance, 0) + 1e-6)
    # Barrier: otherwise XLA fuses everything into one kernel and cannot fuse the slot lookup
    # (`to_tokens`).
    mean, inverse = jax.lax.optimization_barrier((mean, inverse))
    return (wide - mean) * inverse


class RMSNorm(nnx.Module):
    """Root-mean-square norm of the last axis with a learned scale; keeps the dtype of x."""

    def __init__(self, width: int) -> None:
        self.scale = nnx.Param(jnp.ones(width, jnp.float32))

    def __call__(
        self, x: jax.Array, angles: tuple[jax.Array, jax.Array] | None = None
    ) -> jax.Array:
        """x: B L N H; with angles (nn/rope.py:rotary) the normalised vectors are also turned."""
        if angles is not None:
            return _normalise_and_rotate(x, self.scale[...], *angles)
        wide = x.astype(jnp.float32)
        return (wide * self.scale[...] * _inverse_rms(wide)).astype(x.dtype)


@jax.custom_vjp
def _normalise_and_rotate(
    x: jax.Array, scale: jax.Array, cos: jax.Array, sin: jax.Array
) -> jax.Array:
    """Multiplies by the inverse RMS last; otherwise XLA would write a copy in float32."""
    return (rotate(x, cos, sin, scale) * _inverse_rms(x.astype(jnp.float32))).astype(x.dtype)


def _gradients_of_normalise_and_rotate(
    arguments: tuple[jax.Array, ...], gradient: jax.Array
) -> tuple[jax.Array, jax.Array, None, None]:
    """The VJP. It swaps the halves of x and of the gradient only, both in their own dtype."""
    x, scale, cos, sin = arguments
    wide = x.astype(jnp.float32)
    inverse = _inverse_rms(wide)
    turned_back = rotate(gradient, cos, -sin) * inverse
    along = turned_back * wide
    radial = jnp.square(inverse) * (along * scale).mean(-1, keepdims=True)
    dx = turned_back * scale - wide * radial
    return dx.astype(x.dtype), along.sum((0, 1, 2)).astype(scale.dtype), None, None


_normalise_and_rotate.defvjp(
    lambda *arguments: (_normalise_and_rotate(*arguments), arguments),
    _gradients_of_normalise_and_rotate,
)


def _inverse_rms(wide: jax.Array) -> jax.Array:
    return jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + 1e-6)


def to_tokens(slot_one_hot: jax.Array, values: jax.Array) -> jax.Array:
    """Values of slots (B K ...) at the tokens (B L ...) whose one-hot (B L K) is given, or 0.

    A lookup that XLA fuses into its consumer; on TPUs, where lookups are slow, a matmul. The
    gradient is `to_slots` on all platforms, because the transpose of a lookup is a scatter-add,
    whose contention costs several times the whole training step on a GPU.
    """
    flat = values.reshape(*values.shape[:2], -1)
    if spec() is not None:
        flat = jax.reshard(flat, spec("batch", None, None))
    tokens = _to_tokens(slot_one_hot, flat)
    return tokens.reshape(*tokens.shape[:2], *values.shape[2:])


def to_slots(slot_one_hot: jax.Array, values: jax.Array) -> jax.Array:
    """Sums of token values (B L ...) over each slot: B K ...; the transpose of `to_tokens`."""
    flat, out = values.reshape(*values.shape[:2], -1), spec("batch", None, None)
    sums = _one_hot_matmul("blk,bld->bkd", slot_one_hot, flat, out_sharding=out)
    return sums.reshape(*sums.shape[:2], *values.shape[2:])


def to_noise_slots(one_hot: jax.Array, values: jax.Array) -> jax.Array:
    """Values of segments (B M ...) at the noise slots whose one-hot (B K M) is given, or 0: B K ...

    A matmul, as is its transpose. It costs little: slots and segments are few.
    """
    flat, out = values.reshape(*values.shape[:2], -1), spec("batch", None, None)
    slots = _one_hot_matmul("bkm,bmd->bkd", one_hot, flat, out_sharding=out)
    return slots.reshape(*slots.shape[:2], *values.shape[2:])


@jax.custom_vjp
def _to_tokens(slot_one_hot: jax.Array, flat: jax.Array) -> jax.Array:
    if target_device().platform == "tpu":
        return _one_hot_matmul("blk,bkd->bld", slot_one_hot, flat)
    index = jnp.where(slot_one_hot.any(-1), slot_one_hot.argmax(-1), slot_one_hot.shape[-1])
    if spec() is None:
        return _look_up(flat, index)
    specs, out = (spec("batch", None, None), spec("batch", "length")), spec("batch", "length", None)
    return jax.shard_map(_look_up, in_specs=specs, out_specs=out)(flat, index)


def _look_up(flat: jax.Array, index: jax.Array) -> jax.Array:
    """The rows of flat B K D that index B L names, 0 where it is K: B L D."""
    return jax.vmap(lambda table, i: table.at[i].get(mode="fill", fill_value=0))(flat, index)


_to_tokens.defvjp(
    lambda slot_one_hot, flat: (_to_tokens(slot_one_hot, flat), slot_one_hot),
    lambda slot_one_hot, gradient: (None, to_slots(slot_one_hot, gradient)),
)


def _one_hot_matmul(
    subscripts: str, one_hot: jax.Array, values: jax.Array, out_sharding: Any = None
) -> jax.Array:
    """A matmul in full precision; otherwise accelerators round float32 values to bfloat16."""
    precision = "highest" if values.dtype == jnp.float32 else None
    one_hot = one_hot.astype(values.dtype)
    return jnp.einsum(subscripts, one_hot, values, precision=precision, out_sharding=out_sharding)


class PlaceEmbedding(nnx.Module):
    """The place of a token in its clip as a vector: sinusoids, then a dense layer.

    Height and width are fractions of the frame's (NaViT, arXiv:2307.06304), so that "at the top"
    is one place in frames of all shapes. Of their sinusoids, each octave is half as large as the
    one below it: at the start of training neighbours have similar vectors (docs/learning.md).
    """

    OCTAVES = 6
    SECONDS = 16.0  # half of the longest wavelength of time

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.dense = Dense(3 * 2 * self.OCTAVES, width, (None, "embed"), rngs=rngs)

    def __call__(self, seconds: jax.Array, fractions: jax.Array) -> jax.Array:
        """seconds: B L float32; fractions: B L 2 float32 in (0, 1). Returns B L D."""
        octaves = 2.0 ** jnp.arange(self.OCTAVES)
        places = jnp.concatenate([seconds[..., None] / self.SECONDS, fractions], axis=-1)
        angles = places[..., None] * (jnp.pi * octaves)  # B L 3 octaves
        # Clips last from a fraction of a second to minutes: no octave of time matters most.
        sizes = jnp.stack([jnp.full_like(octaves, 0.5), 1 / octaves, 1 / octaves])
        waves = jnp.concatenate([sizes * jnp.cos(angles), sizes * jnp.sin(angles)], axis=-1)
        return self.dense(waves.reshape(*seconds.shape, -1), "batch", "length", "act_embed")


class LevelEmbedding(nnx.Module):
    """Noise levels in [0, 1] as vectors: sinusoids (arXiv:1706.03762), then a two-layer MLP."""

    FREQUENCIES = 128

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.up = Dense(2 * self.FREQUENCIES, width, (None, "embed"), rngs=rngs, bias=True)
        self.down = Dense(width, width, (None, "embed"), rngs=rngs, bias=True)

    def __call__(self, levels: jax.Array) -> jax.Array:
        """levels: B K float32 -> B K D."""
        frequencies = jnp.exp(jnp.linspace(jnp.log(1.0), jnp.log(1000.0), self.FREQUENCIES))
        angles = levels[..., None] * frequencies
        features = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
        hidden = jax.nn.silu(self.up(features, "batch", None, None))
        return self.down(hidden, "batch", None, None)
