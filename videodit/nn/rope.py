"""Rotary position embedding (RoFormer, arXiv:2104.09864) over one axis or three."""

import jax
import jax.numpy as jnp
import numpy as np

from videodit.sharding import target_device

THETA = 1000.0  # wavelengths from 2 pi to 2 pi * THETA units of position
TIME_UNITS_PER_SECOND = 8.0  # about one unit of rotation a latent frame at 24 fps


def frequencies(head_size: int, axes: int) -> np.ndarray:
    """The frequency of each pair of a head for each axis: axes x head_size/2, float32; 0 for none.

    With three axes (t, h, w) height and width take 3/8 of the pairs each and time the rest.
    """
    pairs = head_size // 2
    counts = [pairs] if axes == 1 else [pairs - 2 * (3 * pairs // 8)] + 2 * [3 * pairs // 8]
    table, start = np.zeros((axes, pairs), np.float32), 0
    for axis, count in enumerate(counts):
        table[axis, start : start + count] = THETA ** -(np.arange(count) / count)
        start += count
    return table


def rotary(positions: jax.Array, head_size: int) -> tuple[jax.Array, jax.Array]:
    """(cos, sin), each B L H/2 float32, of positions B L A with A = 1 or 3 axes."""
    table = frequencies(head_size, positions.shape[-1])
    angles = sum(positions[..., a, None] * table[a] for a in range(len(table)))
    return jnp.cos(angles), jnp.sin(angles)


def video_rotary(positions: jax.Array, head_size: int) -> tuple[jax.Array, jax.Array]:
    """`rotary` of positions (t in seconds, h and w in patches), so that frame rate matters."""
    return rotary(positions * np.array([TIME_UNITS_PER_SECOND, 1, 1], np.float32), head_size)


def rotate(
    x: jax.Array, cos: jax.Array, sin: jax.Array, scale: jax.Array | float = 1.0
) -> jax.Array:
    """Turns the pairs (x_i, x_{i + H/2}) of x times scale (H) by the angles of `rotary`.

    x: B L N H; its halves are swapped in its own dtype. Returns B L N H float32.
    """
    cos, sin = (jnp.concatenate(halves, -1)[:, :, None] for halves in ((cos, cos), (-sin, sin)))
    scale = jnp.broadcast_to(jnp.float32(scale), x.shape[-1:])
    other = jnp.roll(scale, x.shape[-1] // 2)
    return x.astype(jnp.float32) * (scale * cos) + _swapped(x).astype(jnp.float32) * (other * sin)


def _swapped(x: jax.Array) -> jax.Array:
    """x (... H) with the halves of the last axis swapped.

    On a TPU a matmul swaps them, because XLA's kernels would write each half to memory. On a GPU an
    axis is flipped, which XLA fuses; it would write concatenated halves to memory.
    """
    size, platform = x.shape[-1], target_device().platform
    if platform == "cpu":
        return jnp.roll(x, size // 2, axis=-1)
    if platform != "tpu":
        return jnp.flip(x.reshape(*x.shape[:-1], 2, size // 2), -2).reshape(x.shape)
    permutation = np.roll(np.eye(size), size // 2, axis=1).astype(x.dtype)
    precision = "highest" if x.dtype == jnp.float32 else None
    return jnp.einsum("...i,ij->...j", x, permutation, precision=precision)
