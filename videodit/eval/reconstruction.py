"""PSNR of reconstructed clips in packed rows."""

import jax
import jax.numpy as jnp

from videodit.nn.layers import to_slots


def clip_psnr(
    original: jax.Array, reconstruction: jax.Array, mask: jax.Array, segment_one_hot: jax.Array
) -> jax.Array:
    """Peak signal-to-noise ratio in dB of each clip: B M. Pixels lie in [-1, 1] (peak to peak 2).

    original, reconstruction, mask: B L P; the mask is 1 where a pixel exists.
    segment_one_hot: B L M.
    """
    error = (jnp.square(original - jnp.clip(reconstruction, -1, 1)) * mask).sum(-1, keepdims=True)
    errors = to_slots(segment_one_hot, error)[..., 0]
    pixels = to_slots(segment_one_hot, mask.sum(-1, keepdims=True))[..., 0]
    mean_squared = errors / jnp.maximum(pixels, 1)
    return 10 * jnp.log10(4 / jnp.maximum(mean_squared, 1e-12))
