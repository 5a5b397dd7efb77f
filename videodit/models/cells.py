"""Places and segments of the tokens of a PackedBatch, which coders need beside the values."""

import jax
import jax.numpy as jnp

from videodit.config import AutoencoderConfig
from videodit.data.packing import PackedBatch
from videodit.models.autoencoder import Cells
from videodit.nn.layers import to_tokens


def segment_one_hot(batch: PackedBatch) -> jax.Array:
    """B L M float32: which clip a token belongs to."""
    return jax.nn.one_hot(batch.segment_ids - 1, batch.valid.shape[1])


def cells(
    batch: PackedBatch, cfg: AutoencoderConfig, segment_ids: jax.Array | None = None
) -> Cells:
    """The cells of the batch's tokens. segment_ids: B L int32; by default a segment is a clip."""
    large = batch.grids[..., 1:].prod(-1) > cfg.window**2
    values = jnp.stack([batch.fps / cfg.patch[0], large.astype(jnp.float32)], axis=-1)
    values = to_tokens(segment_one_hot(batch), values)
    frames = jnp.rint(batch.positions[..., 0] * values[..., 0]).astype(jnp.int32)
    segment_ids = batch.segment_ids if segment_ids is None else segment_ids
    return Cells(batch.positions, segment_ids, frames, values[..., 1] < 0.5)
