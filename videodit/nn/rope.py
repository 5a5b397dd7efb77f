"""Rotary position embedding (RoFormer, arXiv:2104.09864) over one axis or three."""

import jax.numpy as jnp
import numpy as np

THETA = 1000.0  # wavelengths from 2 pi to 2 pi * THETA units of position
TIME_UNITS_PER_SECOND = 8.0  # about one unit of rotation a latent frame at 24 fps


def frequencies(head_size: int, axes: int) -> np.ndarray:
    """Which axis turns which of the head's pairs, and how fast: axes x head_size/2, float32.

    With three axes (t, h, w) height and width take 3/8 of the pairs each and time the rest.
    """
    pairs = head_size // 2
    counts = [pairs] if axes == 1 else [pairs - 2 * (3 * pairs // 8)] + 2 * [3 * pairs // 8]
    table, start = np.zeros((axes, pairs), np.float32), 0
    for axis, count in enumerate(counts):
        table[axis, start : start + count] = THETA ** -(np.arange(count) / count)
        start += count
    return table


def rotary(positions, head_size: int):
    """(cos, sin), each B L H/2 float32, of positions B L A with A = 1 or 3 axes."""
    table = frequencies(head_size, positions.shape[-1])
    angles = sum(positions[..., a, None] * table[a] for a in range(len(table)))
    return jnp.cos(angles), jnp.sin(angles)


def video_rotary(positions, head_size: int):
    """`rotary` of positions (t in seconds, h and w in patches), so that frame rate matters."""
    return rotary(positions * np.float32([TIME_UNITS_PER_SECOND, 1, 1]), head_size)


def rotate(x, cos, sin):
    """Turns the pairs (x_i, x_{i + H/2}) of x (B L N H) by the angles of `rotary`; keeps dtype."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = cos[:, :, None], sin[:, :, None]
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)
