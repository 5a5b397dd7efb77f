"""Pictures cut out of packed rows, because a convolution cannot read a row of tokens.

Every clip of a row gives a fixed number of crops of K x K cells of one latent frame. Their places
follow from (key, sample id), so a crop does not depend on the row that its clip was packed into.
The tokens of a crop are looked up; the gradient of the lookup is a matmul (nn/layers.py:to_tokens).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from videodit.data.packing import PackedBatch
from videodit.diffusion.flow import per_sample
from videodit.models.autoencoder import Cells
from videodit.nn.layers import to_tokens
from videodit.sharding import spec


def crop_one_hot(
    key: jax.Array, batch: PackedBatch, cells: Cells, size: int, count: int
) -> jax.Array:
    """A one-hot map from cells of crops to tokens: B N L float32, N = M count size size.

    A row of zeros is a cell outside of the clip, or one whose token was dropped.
    """
    wanted = _wanted_cells(crop_origins(key, batch, size, count), size)
    segment = 1 + np.arange(wanted.shape[1]) // (count * size**2)
    places = jnp.concatenate([cells.frames[..., None], cells.positions[..., 1:]], axis=-1)
    match = cells.segment_ids[:, None, :] == segment[None, :, None]
    for axis in range(3):
        found = places[:, None, :, axis].astype(jnp.int32)
        match &= found == wanted[..., None, axis]
    return match.astype(jnp.float32)


def crop_origins(key: jax.Array, batch: PackedBatch, size: int, count: int) -> jax.Array:
    """Latent frame, row and column of each crop's first cell: B M count 3 int32.

    The crop lies inside of the frame, or starts at its edge if the frame is the smaller one.
    """
    draw = lambda k: jax.random.uniform(k, (count, 3))
    chance = per_sample(key, batch.sample_ids, draw)
    room = jnp.maximum(batch.grids - jnp.array([0, size - 1, size - 1]), 1)
    return jnp.floor(chance * room[:, :, None]).astype(jnp.int32)


def _wanted_cells(origins: jax.Array, size: int) -> jax.Array:
    """B M count 3 -> B N 3: latent frame, row and column of every cell, in reading order."""
    rows, columns = np.indices((size, size)).reshape(2, -1)
    offsets = np.stack([np.zeros_like(rows), rows, columns], axis=-1)
    wanted = origins[:, :, :, None] + offsets
    return wanted.reshape(wanted.shape[0], -1, 3, out_sharding=spec("batch", None, None))


def crop(one_hot: jax.Array, values: jax.Array) -> jax.Array:
    """The cells of the crops, B N P float32, from token values B L P; 0 where there is no token."""
    if spec() is None:
        return to_tokens(one_hot, values)
    # `to_tokens` shares out the cells over the mesh axes of the tokens.
    found = to_tokens(jax.reshard(one_hot, spec("batch", "length", None)), values)
    return jax.reshard(found, spec("batch", None, None))


def pictures(cells: jax.Array, patch: tuple[int, int, int], size: int) -> jax.Array:
    """Cells of crops N P (one row) as pictures: crops frames, size * height, size * width, 3."""
    frames, height, width = patch
    count = math.prod(cells.shape) // (size**2 * frames * height * width * 3)
    x = cells.reshape(count, size, size, frames, height, width, 3)
    x = x.transpose(0, 3, 1, 4, 2, 5, 6)
    return x.reshape(count, frames, size * height, size * width, 3)
