"""A PackedBatch seen by token, by clip and by noise slot, inside a compiled function."""

import jax
import jax.numpy as jnp

from videodit.config import AutoencoderConfig
from videodit.data.packing import PackedBatch
from videodit.models.cells import cells, segment_one_hot
from videodit.models.dit import Slots
from videodit.nn.layers import to_noise_slots, to_slots, to_tokens
from videodit.nn.segments import Segments
from videodit.nn.windows import chunk_of


def encoder_segment_ids(batch: PackedBatch, cfg: AutoencoderConfig) -> jax.Array:
    """B L int32, 0 is padding: segments of the encoder that keep given tokens from the others.

    A clip is one segment if every given token is of an earlier chunk than all others: the encoder
    is causal. Otherwise its given tokens form their own segment, so that they are encoded as at
    inference, where nothing else exists yet.
    """
    chunks = chunk_of(cells(batch, cfg).frames, cfg.chunk)[..., None]
    one_hot = segment_one_hot(batch)
    here, given = one_hot > 0, batch.given[..., None]
    last_given = jnp.where(here & given, chunks, -1).max(1)  # B M
    first_other = jnp.where(here & ~given, chunks, jnp.iinfo(jnp.int32).max).min(1)
    apart = (last_given >= first_other)[..., None].astype(jnp.float32)
    apart = to_tokens(one_hot, apart)[..., 0] > 0.5
    return jnp.where(apart & ~batch.given, 2 * batch.segment_ids - 1, 2 * batch.segment_ids)


def clip_segments(batch: PackedBatch) -> Segments:
    """Who sees whom where each clip is a segment."""
    return Segments(batch.segment_ids, most=batch.valid.shape[1] + 1)  # and the padding


def slot_levels(batch: PackedBatch, levels: jax.Array) -> jax.Array:
    """Levels of clips (B M) as levels of noise slots (B K): 0 where the slot's tokens are given."""
    one_hot = jax.nn.one_hot(batch.slot_segments - 1, levels.shape[1])
    return jnp.where(batch.slot_given, 0, to_noise_slots(one_hot, levels[..., None])[..., 0])


def noise_slots(batch: PackedBatch, levels: jax.Array) -> Slots:
    """The noise slots of the batch at levels B K, as the DiT takes them."""
    return Slots(levels, batch.slot_segments, batch.noise_slot_ids)


def token_levels(batch: PackedBatch, levels: jax.Array) -> jax.Array:
    """Levels of the noise slots B K at their tokens: B L 1."""
    one_hot = jax.nn.one_hot(batch.noise_slot_ids, levels.shape[1])
    return to_tokens(one_hot, levels[..., None])


def token_fractions(batch: PackedBatch) -> jax.Array:
    """The height and width of the middle of each token as shares of its frame's: B L 2 float32."""
    sides = to_tokens(segment_one_hot(batch), batch.grids[..., 1:].astype(jnp.float32))
    return (batch.positions[..., 1:] + 0.5) / jnp.maximum(sides, 1)


def clip_means(batch: PackedBatch, values: jax.Array) -> jax.Array:
    """Mean of token values B L over the tokens of each clip: B M."""
    both = jnp.stack([values, jnp.ones_like(values)], axis=-1)
    sums = to_slots(segment_one_hot(batch), both)
    return sums[..., 0] / jnp.maximum(sums[..., 1], 1)


def clip_tokens(batch: PackedBatch) -> jax.Array:
    """Tokens of each whole clip, dropped ones too: B M float32, 0 where there is none."""
    return batch.grids.prod(-1).astype(jnp.float32)


def rotate_captions(
    valid: jax.Array, text_segment_ids: jax.Array, by: int | jax.Array
) -> jax.Array:
    """Text segment ids B S with which every clip has the caption of the clip `by` places before it
    in its row, and the first ones those of the last.

    valid: B M bool, the slots that have a clip. A clip alone in its row keeps its own caption; two
    clips of a row may have the same one.
    """
    slots = valid.shape[1]
    rank = valid.cumsum(-1)  # slots may be empty in between
    after = (rank - 1 + by) % jnp.maximum(valid.sum(-1, keepdims=True), 1) + 1
    is_next = valid[:, None, :] & (rank[:, None, :] == after[:, :, None])
    next_id = is_next @ (1 + jnp.arange(slots))
    one_hot = jax.nn.one_hot(text_segment_ids - 1, slots, dtype=next_id.dtype)
    return (one_hot * next_id[:, None]).sum(-1)
