import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.data import packing

PATCH = (4, 8, 8)
CAPACITY = dict(row_tokens=16, text_tokens=12, max_segments=3, patch=PATCH)
SIZES = [(5, 16, 16), (1, 8, 24), (2, 9, 10)]  # 8, 3 and 2 * 2 * 2 = 8 tokens


def clip(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def segments(sizes, **kwargs):
    return [
        packing.segment(
            clip(size, i),
            patch=PATCH,
            fps=8.0 * (i + 1),
            text_tokens=[1, 10 + i, 2],
            sample_id=2**32 - 1 - i,
            clip_id=100 + i,
            **kwargs,
        )
        for i, size in enumerate(sizes)
    ]


def batch():
    first = packing.pack_row(segments(SIZES[:2]), **CAPACITY)
    second = packing.pack_row(segments(SIZES[2:]), **CAPACITY)
    return packing.stack([first, packing.pack_row([], **CAPACITY), second])


def test_unpacking_gives_back_every_frame():
    clips = packing.unpack(batch().tokens, batch(), PATCH, SIZES)
    originals = [clip(SIZES[0], 0), clip(SIZES[1], 1), clip(SIZES[2], 0)]
    assert len(clips) == 3
    for ours, original in zip(clips, originals):
        np.testing.assert_array_equal(ours, original)
        assert ours.dtype == np.uint8


def test_without_sizes_clips_are_as_large_as_their_grid_and_dtype_is_kept():
    packed = batch()
    clips = packing.unpack(packed.tokens.astype(np.float16), packed, PATCH)
    assert [c.shape for c in clips] == [(5, 16, 16, 3), (1, 8, 24, 3), (5, 16, 16, 3)]
    assert clips[0].dtype == np.float16


def test_a_row_holds_segments_then_padding():
    row = packing.pack_row(segments(SIZES[:2]), **CAPACITY)
    assert row.segment_ids.tolist() == [1] * 8 + [2] * 3 + [0] * 5
    assert row.noise_slot_ids.tolist() == [0] * 8 + [2] * 3 + [-1] * 5
    assert row.text_segment_ids.tolist() == [1] * 3 + [2] * 3 + [0] * 6
    assert row.text_tokens.tolist() == [1, 10, 2, 1, 11, 2] + [0] * 6
    assert row.text_positions.tolist() == [0, 1, 2, 0, 1, 2] + [0] * 6
    assert row.valid.tolist() == [True, True, False]
    assert row.grids.tolist() == [[2, 2, 2], [1, 1, 3], [0, 0, 0]]
    assert row.clip_ids.tolist() == [100, 101, -1]
    assert row.sample_ids.tolist() == [2**32 - 1, 2**32 - 2, 0]
    assert row.fps.tolist() == [8.0, 16.0, 0.0]
    assert row.positions[4].tolist() == [0.5, 0, 0]  # the second latent frame of the first clip
    assert not row.tokens[11:].any() and not row.positions[11:].any()


def test_given_cells_have_a_noise_slot_of_their_own():
    mask = np.zeros((2, 2, 2), bool)
    mask[0] = True
    row = packing.pack_row(segments([SIZES[0]] * 2, given=mask, task_id=1), **CAPACITY)
    assert row.given.tolist() == ([True] * 4 + [False] * 4) * 2
    assert row.noise_slot_ids.tolist() == [1] * 4 + [0] * 4 + [3] * 4 + [2] * 4
    assert row.task_ids.tolist() == [1, 1, 0]


def test_every_field_of_a_stacked_batch_has_the_documented_shape_and_dtype():
    B, L, S, M, P = 3, 16, 12, 3, 4 * 8 * 8 * 3
    expected = {
        "tokens": ((B, L, P), np.uint8),
        "positions": ((B, L, 3), np.float32),
        "segment_ids": ((B, L), np.int32),
        "given": ((B, L), np.bool_),
        "noise_slot_ids": ((B, L), np.int32),
        "text_tokens": ((B, S), np.int32),
        "text_segment_ids": ((B, S), np.int32),
        "text_positions": ((B, S), np.int32),
        "sample_ids": ((B, M), np.uint32),
        "clip_ids": ((B, M), np.int32),
        "grids": ((B, M, 3), np.int32),
        "fps": ((B, M), np.float32),
        "task_ids": ((B, M), np.int32),
        "valid": ((B, M), np.bool_),
    }
    found = {name: (x.shape, x.dtype.type) for name, x in batch()._asdict().items()}
    assert found == expected


@pytest.mark.parametrize(
    "name, message",
    [
        ("row_tokens", r"data.row_tokens=1: .* 8 \+ 3 = 11"),
        ("text_tokens", r"data.text_tokens=1: .* 3 \+ 3 = 6"),
        ("max_segments", r"data.max_segments=1: .* 1 \+ 1 = 2"),
    ],
)
def test_too_much_for_a_row_is_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        packing.pack_row(segments(SIZES[:2]), **(CAPACITY | {name: 1}))


def test_latents_are_packed_like_pixels():
    latents = np.random.default_rng(0).normal(size=(2, 2, 2, 16)).astype(np.float32)
    cells = segments(SIZES[:1])[0]._replace(tokens=latents.reshape(8, 16))
    packed = packing.stack([packing.pack_row([cells], **CAPACITY)])
    assert packed.tokens.dtype == np.float32
    np.testing.assert_array_equal(packing.unpack(packed.tokens, packed, (1, 1, 1))[0], latents)


def test_latents_that_are_not_finite_are_refused_by_name():
    latents = np.zeros((8, 16), np.float32)
    latents[3, 3] = np.nan
    with pytest.raises(ValueError, match="clip 100"):
        packing.pack_row([segments(SIZES[:1])[0]._replace(tokens=latents)], **CAPACITY)
