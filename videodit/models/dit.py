"""The diffusion transformer over packed latent cells (DiT, arXiv:2212.09748).

A token is one latent cell of the autoencoder: there is no second patching. The tokens of a noise
slot have the same noise level: a segment has one slot for its given tokens and one for the others,
or more. The level of a slot and the pooled caption of its segment modulate the blocks (adaLN-zero),
and the tokens attend to the caption.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from videodit.config import ComputeConfig, DiTConfig
from videodit.models.sizes import lookup
from videodit.nn.block import Conditions, Stack, StackShape, modulate
from videodit.nn.functional import functional
from videodit.nn.layers import (
    ZEROS,
    Dense,
    LevelEmbedding,
    PlaceEmbedding,
    to_noise_slots,
    to_slots,
    to_tokens,
)
from videodit.nn.rope import video_rotary
from videodit.nn.segments import Segments

SIZES = {
    "smoke": StackShape(depth=2, width=64, heads=4, head_size=16, mlp=128),
    "demo": StackShape(depth=6, width=160, heads=2, head_size=80, mlp=640),
    "S": StackShape(depth=12, width=384, heads=8, head_size=64, mlp=1536),
    "B": StackShape(depth=12, width=768, heads=8, head_size=128, mlp=3072),
    "L": StackShape(depth=24, width=1024, heads=8, head_size=128, mlp=4096),
    "XL": StackShape(depth=28, width=1152, heads=8, head_size=128, mlp=4608),
    "1.5B": StackShape(depth=18, width=2048, heads=16, head_size=128, mlp=8192),
    "3B": StackShape(depth=28, width=2560, heads=24, head_size=128, mlp=10240),
    "14B": StackShape(depth=40, width=5120, heads=40, head_size=128, mlp=13824),
}
POOL_HEADS = 16
MAX_LOGIT = 30.0  # far from what a float32 exponential can bear, and beyond what a softmax needs


class Slots(NamedTuple):
    """The noise slots of a row."""

    levels: jax.Array  # B K float32, the noise level of each slot
    segments: jax.Array  # B K int32, the segment that each slot is part of; 0: not used
    of_tokens: jax.Array  # B L int32, the slot of each token; -1 is padding


class AttentionPool(nnx.Module):
    """The caption of each segment as one vector (attention pooling as in arXiv:2205.11487).

    Each head takes the mean of values under a softmax, over the tokens of the segment, of a learned
    score: a plain mean would hide a word of a long caption among all others.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.score = Dense(width, POOL_HEADS, (None, None), rngs=rngs)
        self.value = Dense(width, width, (None, "embed"), rngs=rngs)

    def __call__(self, text: jax.Array, one_hot: jax.Array) -> jax.Array:
        """text: B S E; one_hot: B S M, which segment a token is of. Returns B M E float32."""
        logits = self.score(text, "batch", "length", None).astype(jnp.float32)
        weights = jnp.exp(jnp.clip(logits, -MAX_LOGIT, MAX_LOGIT))[..., None]  # B S heads 1
        values = self.value(text, "batch", "length", None).astype(jnp.float32)
        values = weights * values.reshape(*logits.shape, -1)
        # A slot without a caption gives 0; the square of its divisor must not (the gradient's).
        sums = to_slots(one_hot, values) / jnp.maximum(to_slots(one_hot, weights), 1e-15)
        return sums.reshape(*sums.shape[:2], -1)


class DiT(nnx.Module):
    """Noisy latents, noise levels and text to the velocity of each token."""

    def __init__(
        self,
        cfg: DiTConfig,
        shape: StackShape,
        channels: int,
        text_width: int,
        compute: ComputeConfig,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.head_size = shape.head_size
        self.embed = Dense(channels, shape.width, (None, "embed"), rngs=rngs, bias=True)
        self.place = PlaceEmbedding(shape.width, rngs=rngs) if cfg.places else None
        self.level = LevelEmbedding(shape.width, rngs=rngs)
        self.pool = AttentionPool(text_width, rngs=rngs)
        self.caption = Dense(text_width, shape.width, (None, "embed"), rngs=rngs)
        tables = ZEROS
        if cfg.initial_modulation:
            tables = nnx.initializers.normal(cfg.initial_modulation / shape.width**0.5)
        self.table = (
            Dense(shape.width, 6 * shape.width, (None, "embed"), rngs=rngs, init=tables, bias=True)
            if cfg.modulation == "shared"
            else None
        )
        self.stack = Stack(
            shape,
            compute,
            rngs=rngs,
            modulation=cfg.modulation,
            tables=tables,
            text_width=text_width,
        )
        self.final = Dense(
            shape.width, 2 * shape.width, (None, "embed"), rngs=rngs, init=ZEROS, bias=True
        )
        self.head = Dense(shape.width, channels, ("embed", None), rngs=rngs, init=ZEROS, bias=True)

    def __call__(
        self,
        latents: jax.Array,
        slots: Slots,
        positions: jax.Array,
        fractions: jax.Array,
        segments: Segments,
        text: jax.Array,
        text_segment_ids: jax.Array,
    ) -> jax.Array:
        """latents: B L C; text: B S E; text_segment_ids: B S and positions as in PackedBatch.

        fractions: B L 2 float32, the height and width of a token as shares of its frame's.
        segments: of the latents, ids B L, with `most` of M + 1: M clips a row, and the padding.
        Returns the velocity B L C float32.
        """
        assert segments.most is not None
        vectors = self._slot_vectors(slots, segments.most - 1, text, text_segment_ids)
        slot_one_hot = jax.nn.one_hot(slots.of_tokens, slots.levels.shape[1], dtype=vectors.dtype)
        conditions = Conditions(
            video_rotary(positions, self.head_size),
            segments,
            slot_one_hot,
            self._tables(vectors),
            text,
            dataclasses.replace(segments, key=text_segment_ids),
        )
        x = self.embed(latents, "batch", "length", "act_embed")
        if self.place is not None:
            x = x + self.place(positions[..., 0], fractions)
        x = self.stack(x, conditions)
        final = to_tokens(slot_one_hot, self.final(jax.nn.silu(vectors), "batch", None, None))
        x = modulate(x, *jnp.split(final, 2, axis=-1))
        return self.head(x, "batch", "length", None).astype(jnp.float32)

    def _slot_vectors(
        self, slots: Slots, segments: int, text: jax.Array, text_segment_ids: jax.Array
    ) -> jax.Array:
        """The level of each slot and the pooled caption of its segment as one vector: B K D."""
        one_hot = jax.nn.one_hot(text_segment_ids - 1, segments, dtype=jnp.float32)  # B S M
        captions = self.caption(self.pool(text, one_hot), "batch", None, None)
        slot_one_hot = jax.nn.one_hot(slots.segments - 1, segments, dtype=captions.dtype)  # B K M
        return self.level(slots.levels) + to_noise_slots(slot_one_hot, captions)

    def _tables(self, slots: jax.Array) -> jax.Array:
        """With shared modulation the one table of all blocks, B K 6 D; else the slots."""
        if self.table is None:
            return slots
        table = self.table(jax.nn.silu(slots), "batch", None, None)
        return table.reshape(*table.shape[:2], 6, -1)


def make_dit(
    cfg: DiTConfig, channels: int, text_width: int, compute: ComputeConfig
) -> tuple[Callable[[jax.Array], Any], Callable[..., Any]]:
    """`functional` (init, apply) of the configured DiT over latents of `channels` values."""
    shape = lookup("dit.size", cfg.size, SIZES)
    return functional(
        lambda rngs: DiT(cfg, shape, channels, text_width, compute, rngs=rngs),
        compute.dtype,
        compute.gather,
    )
