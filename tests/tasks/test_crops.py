"""Crops of packed rows are what slicing the clips gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packs import PATCH, clip, pack, tiny_config

from videodit.data.packing import segment
from videodit.models.cells import cells
from videodit.tasks.crops import crop, crop_one_hot, crop_origins, pictures

CFG = tiny_config("autoencoder").autoencoder
KEY = jax.random.key(5)
COUNT = 3


def crops_of(batch, size):
    """Pictures B M COUNT frames side side 3, and the origins B M COUNT 3."""
    one_hot = crop_one_hot(KEY, batch, cells(batch, CFG), size, COUNT)
    values = crop(one_hot, batch.tokens.astype(jnp.float32))
    images = np.stack([pictures(row, PATCH, size) for row in values])
    origins = np.asarray(crop_origins(KEY, batch, size, COUNT))
    return images.reshape(*origins.shape[:3], *images.shape[2:]), origins


def expected_crop(frames, origin, size):
    """The crop of a clip T H W 3, black where there is no clip; the first frame is repeated."""
    padded = np.concatenate([np.repeat(frames[:1], PATCH[0] - 1, axis=0), frames])
    frame, row, column = origin
    piece = padded[frame * PATCH[0] :][: PATCH[0]]
    piece = piece[:, row * PATCH[1] :, column * PATCH[2] :][:, : size * PATCH[1], : size * PATCH[2]]
    image = np.zeros((PATCH[0], size * PATCH[1], size * PATCH[2], 3), np.float32)
    image[:, : piece.shape[1], : piece.shape[2]] = piece
    return image


@pytest.mark.parametrize("size", [2, 3])  # some clips are smaller
def test_a_crop_of_a_packed_row_is_a_slice_of_the_clip(size):
    rows = [[clip(3), clip(0), clip(1)], [clip(2), clip(4)]]
    images, origins = crops_of(pack(rows), size)
    for b, row in enumerate(rows):
        for m, one in enumerate(row):
            for image, origin in zip(images[b, m], origins[b, m]):
                np.testing.assert_array_equal(image, expected_crop(one.frames, origin, size))
    assert (images[0, 3:] == 0).all()  # no clip


def test_places_are_the_clips_own_wherever_it_is_packed_and_cover_it():
    a = np.asarray(crop_origins(KEY, pack([[clip(3), clip(0)], [clip(1)]]), 2, 200))
    b = np.asarray(crop_origins(KEY, pack([[clip(0)], []]), 2, 200))
    np.testing.assert_array_equal(a[0, 1], b[0, 0])
    places = {tuple(place) for place in b[0, 0].tolist()}
    assert places == {(t, h, 0) for t in range(3) for h in range(2)}  # of a grid of 3 x 3 x 2


def test_dropped_cells_are_left_out():
    whole = clip(1)  # 1 frame of 4 x 4 cells
    kept = np.arange(16) % 5 != 0
    dropped = segment(
        whole.frames, patch=PATCH, fps=8.0, text_ids=[1], kept=kept, sample_id=whole.sample_id
    )
    (image,), (origin,) = (x[0, 0, :1] for x in crops_of(pack([[dropped]]), 2))
    frames = whole.frames.reshape(1, 4, 8, 4, 8, 3) * kept.reshape(1, 4, 1, 4, 1, 1)
    expected = expected_crop(frames.reshape(1, 32, 32, 3), origin, 2)
    np.testing.assert_array_equal(image, expected)


def test_a_gradient_reaches_the_tokens_of_the_crop_and_no_others():
    batch = pack([[clip(0), clip(1)]])
    one_hot = crop_one_hot(KEY, batch, cells(batch, CFG), 2, 1)
    gradient = jax.grad(lambda x: crop(one_hot, x).sum())(batch.tokens.astype(jnp.float32))
    seen = np.asarray(gradient).any(-1)
    segment_ids = np.asarray(batch.segment_ids)
    assert [(seen & (segment_ids == m)).sum() for m in (0, 1, 2)] == [0, 4, 4]
