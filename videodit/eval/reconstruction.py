"""How close reconstructed clips are to the originals."""

import jax.numpy as jnp

from videodit.nn.layers import to_slots


def clip_psnr(original, reconstruction, mask, segment_one_hot):
    """Peak signal-to-noise ratio in dB of each clip, B M; pixels in [-1, 1] (peak to peak 2).

    original, reconstruction, mask: B L P, the mask 1 where a pixel exists; segment_one_hot: B L M.
    """
    error = (jnp.square(original - jnp.clip(reconstruction, -1, 1)) * mask).sum(-1, keepdims=True)
    errors = to_slots(segment_one_hot, error)[..., 0]
    pixels = to_slots(segment_one_hot, mask.sum(-1, keepdims=True))[..., 0]
    mean_squared = errors / jnp.maximum(pixels, 1)
    return 10 * jnp.log10(4 / jnp.maximum(mean_squared, 1e-12))
