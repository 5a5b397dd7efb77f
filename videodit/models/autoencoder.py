"""The video autoencoder: packed pixel patches to packed latent cells and back.

Encoder and decoder are stacks of the one block over the packed row. Each has a linear path beside
it (patch -> latent, latent -> patch), which can be set to the principal components of the patches
(`with_linear_path`). The heads of the stacks start at zero, so training starts from the PCA.

Both are causal in time by chunks of latent frames: a token attends to its own chunk and the one
before. So a video of any length can be coded exactly, chunk by chunk, with the keys and values of
one chunk kept (`stream_encode`, `stream_decode`).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from videodit.config import AutoencoderConfig, ComputeConfig
from videodit.data.patches import Size
from videodit.digest import digest
from videodit.models.sizes import lookup
from videodit.nn.block import Conditions, Stack, StackShape
from videodit.nn.cache import KeysValues
from videodit.nn.functional import functional
from videodit.nn.layers import ZEROS, Dense, layer_norm
from videodit.nn.rope import video_rotary
from videodit.nn.segments import Segments, with_orders
from videodit.nn.windows import causal_chunk_segments, chunk_of, join, window_ids
from videodit.parameters import Params
from videodit.sharding import spec

SIZES = {  # the shape of the encoder and of the decoder
    "smoke": StackShape(depth=1, width=32, heads=4, head_size=8, mlp=64),
    "demo": StackShape(depth=3, width=160, heads=2, head_size=80, mlp=640),
    "S": StackShape(depth=6, width=384, heads=8, head_size=64, mlp=1536),
    "B": StackShape(depth=12, width=768, heads=8, head_size=128, mlp=3072),
    "L": StackShape(depth=16, width=1024, heads=8, head_size=128, mlp=4096),
}
INITIAL_LOG_VARIANCE = -8.0

Values = TypeVar("Values", jax.Array, np.ndarray)


class Cells(NamedTuple):
    """Where the tokens of a row are."""

    positions: jax.Array  # B L 3 float32: t in seconds, h and w in patches
    segment_ids: jax.Array  # B L int32; 0 is padding
    frames: jax.Array  # B L int32: latent frame within the clip
    whole: jax.Array  # B L bool: attention is over the whole frame, not over windows of it


class Past(NamedTuple):
    """The chunk before the one that is coded. The call that coded it returned this."""

    cells: Cells
    keys_values: KeysValues  # depth B S N H


class Coder(nnx.Module):
    """linear(x) + head(stack(embed(x))): one half of the autoencoder."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        linear_outputs: int,
        cfg: AutoencoderConfig,
        shape: StackShape,
        compute: ComputeConfig,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.head_size, self.chunk, self.window = shape.head_size, cfg.chunk, cfg.window
        self.linear = Dense(inputs, linear_outputs, (None, None), rngs=rngs, bias=True)
        self.embed = Dense(inputs, shape.width, (None, "embed"), rngs=rngs, bias=True)
        self.stack = Stack(shape, compute, rngs=rngs)
        self.head = Dense(shape.width, outputs, ("embed", None), rngs=rngs, init=ZEROS, bias=True)

    def __call__(self, x: jax.Array, cells: Cells) -> tuple[jax.Array, jax.Array]:
        """x: B L inputs -> (linear path B L linear_outputs, head B L outputs), float32."""
        chunks = chunk_of(cells.frames, self.chunk)
        segments = [
            self._ordered(causal_chunk_segments(cells.segment_ids, chunks, ids))
            for ids in self._window_ids(cells)
        ]
        h = self.stack(self._embedded(x), self._conditions(cells, *segments))
        return self._outputs(x, h)

    def stream(
        self, x: jax.Array, cells: Cells, past: Past | None
    ) -> tuple[tuple[jax.Array, jax.Array], Past]:
        """The same for the tokens of one chunk, and what the next chunk needs as its past."""
        length = x.shape[1]
        seen = _concatenate(past.cells, cells) if past else cells
        joined = (join(seen.segment_ids, ids) for ids in self._window_ids(seen))
        segments = [self._ordered(Segments(ids[:, -length:], ids)) for ids in joined]
        conditions = self._conditions(cells, *segments)
        h, new = self.stack.stream(
            self._embedded(x), conditions, past.keys_values if past else None
        )
        return self._outputs(x, h), Past(cells, new)

    def _window_ids(self, cells: Cells) -> list[jax.Array]:
        """The window of each cell, B L, in even layers and shifted in odd ones."""
        rows, columns = cells.positions[..., 1], cells.positions[..., 2]
        return [
            window_ids(rows, columns, cells.whole, self.window, shifted)
            for shifted in (False, True)
        ]

    def _ordered(self, segments: Segments) -> Segments:
        """With orders, if a row is long enough for a frame that is cut into windows."""
        long = segments.query.shape[1] > self.window**2
        return with_orders(segments) if long else segments

    def _conditions(self, cells: Cells, even: Segments, odd: Segments) -> Conditions:
        rotary = video_rotary(cells.positions, self.head_size)
        return Conditions(rotary, even, odd_segments=odd)

    def _embedded(self, x: jax.Array) -> jax.Array:
        return self.embed(x, "batch", "length", "act_embed")

    def _outputs(self, x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Scaled so that one step of Adam moves an output by far less than its std.
        head = self.head(layer_norm(h) * h.shape[-1] ** -0.5, "batch", "length", None)
        linear = self.linear(x, "batch", "length", None)
        return linear.astype(jnp.float32), head.astype(jnp.float32)


class Autoencoder(nnx.Module):
    """P patch values (pixels in [-1, 1]) to C latent values of the same token, and back."""

    def __init__(
        self,
        cfg: AutoencoderConfig,
        shape: StackShape,
        compute: ComputeConfig,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        values, channels = patch_values(cfg.patch), cfg.channels
        self.encoder = Coder(values, 2 * channels, channels, cfg, shape, compute, rngs=rngs)
        self.decoder = Coder(channels, values, values, cfg, shape, compute, rngs=rngs)

    def encode(self, pixels: jax.Array, cells: Cells) -> tuple[jax.Array, jax.Array]:
        """pixels: B L P -> mean and log variance of the posterior, each B L C float32."""
        return _posterior(*self.encoder(pixels, cells))

    def decode(self, latents: jax.Array, cells: Cells) -> jax.Array:
        """latents: B L C -> pixels B L P float32, about [-1, 1]."""
        linear, head = self.decoder(latents, cells)
        return linear + head

    def stream_encode(
        self, pixels: jax.Array, cells: Cells, past: Past | None
    ) -> tuple[jax.Array, Past]:
        """The posterior means B L C of one chunk of B clips, and the past of the next chunk."""
        outputs, new = self.encoder.stream(pixels, cells, past)
        return _posterior(*outputs)[0], new

    def stream_decode(
        self, latents: jax.Array, cells: Cells, past: Past | None
    ) -> tuple[jax.Array, Past]:
        """The pixels B L P of one chunk of B clips, and the past of the next chunk."""
        (linear, head), new = self.decoder.stream(latents, cells, past)
        return linear + head, new


def patch_values(patch: Size) -> int:
    """P, how many numbers an RGB patch of (frames, height, width) pixels has."""
    return 3 * math.prod(patch)


def _posterior(linear: jax.Array, head: jax.Array) -> tuple[jax.Array, jax.Array]:
    mean, log_variance = jnp.split(head, 2, axis=-1)
    return linear + mean, jnp.clip(log_variance + INITIAL_LOG_VARIANCE, -30, 10)


def _concatenate(a: Cells, b: Cells) -> Cells:
    return Cells(*(jnp.concatenate(parts, axis=1) for parts in zip(a, b)))


def make_autoencoder(
    cfg: AutoencoderConfig, compute: ComputeConfig
) -> tuple[Callable[[jax.Array], Params], Callable[..., Any]]:
    """`functional` (init, apply) of the configured autoencoder; apply calls its methods by name."""
    shape = lookup("autoencoder.size", cfg.size, SIZES)
    return functional(
        lambda rngs: Autoencoder(cfg, shape, compute, rngs=rngs), compute.dtype, compute.gather
    )


def encoder_digest(params: Params) -> str:
    """A digest of the encoder's parameters, which decide the latents; the decoder may differ."""
    return digest(params["encoder"])


def to_pixels(tokens: Values) -> Values:
    """uint8 patch values as float32 in [-1, 1]."""
    return tokens.astype(jnp.float32) / 127.5 - 1


def to_bytes(pixels: jax.Array | np.ndarray) -> jax.Array:
    """The inverse of `to_pixels`, clipped and rounded to uint8."""
    return jnp.clip(jnp.round((pixels + 1) * 127.5), 0, 255).astype(jnp.uint8)


def pixel_mask(positions: jax.Array, patch: Size) -> jax.Array:
    """B L P float32: 1 where a patch value belongs to a frame, 0 in extra copies of the first.

    The first latent frame (t = 0) holds one pixel frame, repeated to fill its patch; only the
    last of the copies counts.
    """
    frames, height, width = patch
    last = jnp.arange(frames) == frames - 1
    exists = (positions[..., 0] > 0)[..., None] | last
    mask = jnp.broadcast_to(exists[..., None], (*exists.shape, 3 * height * width))
    mask = mask.reshape(*exists.shape[:2], -1, out_sharding=spec("batch", "length", None))
    return mask.astype(jnp.float32)


def with_linear_path(
    params: Params, mean: jax.Array, components: jax.Array, stds: jax.Array
) -> Params:
    """Parameters whose linear path is the PCA with this mean (P), components (P C) and stds (C).

    Latents are whitened: (x - mean) components / stds; decoding is the inverse.
    """

    encode = components / stds
    decode = (components * stds).T
    linear = {
        "encoder": {"kernel": encode, "bias": -mean @ encode},
        "decoder": {"kernel": decode, "bias": mean},
    }
    return {name: {**params[name], "linear": linear[name]} for name in params}


def with_frozen_linear_path(params: Params) -> Params:
    """Parameters whose linear path gets no gradient, as a step of Adam would undo the PCA."""
    stop = jax.lax.stop_gradient
    return {name: {**half, "linear": stop(half["linear"])} for name, half in params.items()}
