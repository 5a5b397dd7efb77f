"""The video autoencoder: packed pixel patches to packed latent cells and back.

Encoder and decoder are stacks of the one block over the packed row, each beside a linear path
(patch -> latent, latent -> patch) that can be set to the principal components of the patches
(`with_linear_path`); the heads of the stacks start at zero, so that training starts from there.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from videodit.config import AutoencoderConfig, ComputeConfig
from videodit.models.sizes import lookup
from videodit.nn.block import Conditions, Stack, StackShape
from videodit.nn.functional import functional
from videodit.nn.layers import ZEROS, Dense, layer_norm
from videodit.nn.rope import video_rotary
from videodit.sharding import spec

SIZES = {  # the shape of the encoder and of the decoder
    "smoke": StackShape(depth=1, width=32, heads=4, head_size=8, mlp=64),
    "demo": StackShape(depth=3, width=160, heads=2, head_size=80, mlp=640),
    "S": StackShape(depth=6, width=384, heads=8, head_size=64, mlp=1536),
    "B": StackShape(depth=12, width=768, heads=8, head_size=128, mlp=3072),
    "L": StackShape(depth=16, width=1024, heads=8, head_size=128, mlp=4096),
}
INITIAL_LOG_VARIANCE = -8.0


class Coder(nnx.Module):
    """linear(x) + head(stack(embed(x))): one half of the autoencoder."""

    def __init__(self, inputs, outputs, linear_outputs, shape, compute, *, rngs):
        self.head_size = shape.head_size
        self.linear = Dense(inputs, linear_outputs, (None, None), rngs=rngs, bias=True)
        self.embed = Dense(inputs, shape.width, (None, "embed"), rngs=rngs, bias=True)
        self.stack = Stack(shape, compute, rngs=rngs)
        self.head = Dense(shape.width, outputs, ("embed", None), rngs=rngs, init=ZEROS, bias=True)

    def __call__(self, x, positions, segment_ids):
        """x: B L inputs -> (linear path B L linear_outputs, head B L outputs), float32."""
        conditions = Conditions(video_rotary(positions, self.head_size), segment_ids)
        h = self.stack(self.embed(x, "batch", "length", "act_embed"), conditions)
        # Scaled so that one step of Adam moves an output by far less than its deviation.
        head = self.head(layer_norm(h) * h.shape[-1] ** -0.5, "batch", "length", None)
        linear = self.linear(x, "batch", "length", None)
        return linear.astype(jnp.float32), head.astype(jnp.float32)


class Autoencoder(nnx.Module):
    """P patch values (pixels in [-1, 1]) to C latent values of the same token, and back."""

    def __init__(self, patch_values, channels, shape, compute, *, rngs):
        self.encoder = Coder(patch_values, 2 * channels, channels, shape, compute, rngs=rngs)
        self.decoder = Coder(channels, patch_values, patch_values, shape, compute, rngs=rngs)

    def encode(self, pixels, positions, segment_ids):
        """pixels: B L P -> mean and log variance of the posterior, each B L C float32."""
        linear, head = self.encoder(pixels, positions, segment_ids)
        mean, log_variance = jnp.split(head, 2, axis=-1)
        return linear + mean, jnp.clip(log_variance + INITIAL_LOG_VARIANCE, -30, 10)

    def decode(self, latents, positions, segment_ids):
        """latents: B L C -> pixels B L P float32, about [-1, 1]."""
        linear, head = self.decoder(latents, positions, segment_ids)
        return linear + head


def make_autoencoder(cfg: AutoencoderConfig, compute: ComputeConfig):
    """`functional` (init, apply) of the configured autoencoder; methods "encode" and "decode"."""
    shape = lookup("autoencoder.size", cfg.size, SIZES)
    frames, height, width = cfg.patch
    values = 3 * frames * height * width
    return functional(
        lambda rngs: Autoencoder(values, cfg.channels, shape, compute, rngs=rngs), compute.dtype
    )


def to_pixels(tokens):
    """uint8 patch values as float32 in [-1, 1]."""
    return tokens.astype(jnp.float32) / 127.5 - 1


def to_bytes(pixels):
    """The inverse of `to_pixels`, clipped and rounded to uint8."""
    return jnp.clip(jnp.round((pixels + 1) * 127.5), 0, 255).astype(jnp.uint8)


def pixel_mask(positions, patch):
    """B L P float32: 1 where a patch value is of a frame, 0 in the first frame's extra copies.

    The first latent frame (t = 0) holds one pixel frame, repeated to fill its patch; only the
    last of the copies counts.
    """
    frames, height, width = patch
    last = jnp.arange(frames) == frames - 1
    exists = (positions[..., 0] > 0)[..., None] | last
    mask = jnp.broadcast_to(exists[..., None], (*exists.shape, 3 * height * width))
    mask = mask.reshape(*exists.shape[:2], -1, out_sharding=spec("batch", "length", None))
    return mask.astype(jnp.float32)


def with_linear_path(params, mean, components, deviations):
    """Parameters whose linear path is the PCA with this mean (P), components (P C), deviations (C).

    Latents are whitened: (x - mean) components / deviations; decoding is the inverse.
    """

    encode = components / deviations
    decode = (components * deviations).T
    linear = {
        "encoder": {"kernel": encode, "bias": -mean @ encode},
        "decoder": {"kernel": decode, "bias": mean},
    }
    return {name: {**params[name], "linear": linear[name]} for name in params}


def with_frozen_linear_path(params):
    """Parameters whose linear path gets no gradient: a step of Adam on it would undo the PCA."""
    stop = jax.lax.stop_gradient
    return {name: {**half, "linear": stop(half["linear"])} for name, half in params.items()}
