import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.data import packing

PATCH = (4, 8, 8)
CAPACITY = dict(row_tokens=16, text_tokens=12, max_segments=3)
P = 4 * 8 * 8 * 3
SIZES = [(5, 16, 16), (1, 8, 24), (2, 9, 10)]  # 8, 3 and 2 * 2 * 2 = 8 tokens


def clip(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def segments(sizes, **kwargs):
    return [
        packing.segment(
            clip(size, i),
            patch=PATCH,
            fps=8.0 * (i + 1),
            text_ids=[1, 10 + i, 2],
            sample_id=2**32 - 1 - i,
            clip_id=100 + i,
            **kwargs,
        )
        for i, size in enumerate(sizes)
    ]


def pack(*rows, values=P, dtype=np.uint8, patch=PATCH, **changes):
    packed = packing.empty_batch(len(rows), values, dtype=dtype, **(CAPACITY | changes))
    for b, row in enumerate(rows):
        packing.pack_row(row, packing.row_of(packed, b), patch=patch)
    return packed


def batch():
    return pack(segments(SIZES[:2]), [], segments(SIZES[2:]))


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
    row = packing.row_of(pack(segments(SIZES[:2])), 0)
    assert row.segment_ids.tolist() == [1] * 8 + [2] * 3 + [0] * 5
    assert row.noise_slot_ids.tolist() == [0] * 8 + [2] * 3 + [-1] * 5
    assert row.slot_segments.tolist() == [1, 1, 2, 2, 0, 0]
    assert row.slot_given.tolist() == [False, True, False, True, False, False]
    assert row.text_segment_ids.tolist() == [1] * 3 + [2] * 3 + [0] * 6
    assert row.text_ids.tolist() == [1, 10, 2, 1, 11, 2] + [0] * 6
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
    row = packing.row_of(pack(segments([SIZES[0]] * 2, given=mask, mode_id=1)), 0)
    assert row.given.tolist() == ([True] * 4 + [False] * 4) * 2
    assert row.noise_slot_ids.tolist() == [1] * 4 + [0] * 4 + [3] * 4 + [2] * 4
    assert row.mode_ids.tolist() == [1, 1, 0]


def test_every_field_of_a_stacked_batch_has_the_documented_shape_and_dtype():
    B, L, S, M = 3, 16, 12, 3
    expected = {
        "tokens": ((B, L, P), np.uint8),
        "positions": ((B, L, 3), np.float32),
        "segment_ids": ((B, L), np.int32),
        "given": ((B, L), np.bool_),
        "noise_slot_ids": ((B, L), np.int32),
        "slot_segments": ((B, 2 * M), np.int32),
        "slot_given": ((B, 2 * M), np.bool_),
        "text_ids": ((B, S), np.int32),
        "text_segment_ids": ((B, S), np.int32),
        "text_positions": ((B, S), np.int32),
        "sample_ids": ((B, M), np.uint32),
        "clip_ids": ((B, M), np.int32),
        "grids": ((B, M, 3), np.int32),
        "fps": ((B, M), np.float32),
        "mode_ids": ((B, M), np.int32),
        "valid": ((B, M), np.bool_),
        "replaced": ((B, M), np.bool_),
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
        pack(segments(SIZES[:2]), **{name: 1})


def latents():
    values = np.random.default_rng(0).normal(size=(2, 2, 2, 16)).astype(np.float32)
    return values, packing.segment(values, patch=(1, 1, 1), fps=2, text_ids=[1], clip_id=100)


def test_latents_are_packed_like_pixels():
    values, clip = latents()
    packed = pack([clip], values=16, dtype=np.float32, patch=(1, 1, 1))
    assert packed.tokens.dtype == np.float32
    np.testing.assert_array_equal(packing.unpack(packed.tokens, packed, (1, 1, 1))[0], values)


def test_latents_that_are_not_finite_are_refused_by_name():
    values, clip = latents()
    values[1, 0, 1, 3] = np.nan
    with pytest.raises(ValueError, match="clip 100"):
        pack([clip], values=16, dtype=np.float32, patch=(1, 1, 1))


def test_dropped_tokens_are_left_out_and_the_others_keep_their_positions():
    whole, other = segments([SIZES[0], SIZES[1]])
    kept = np.array([1, 0, 0, 1, 0, 1, 1, 0], bool).reshape(whole.grid)  # (t, h, w) = (2, 2, 2)
    given = np.zeros(whole.grid, bool)
    given[0] = True
    clipped = segments([SIZES[0]], given=given, kept=kept)[0]
    everything = packing.row_of(pack([whole]), 0)
    row = packing.row_of(pack([clipped, other]), 0)
    assert row.segment_ids.tolist() == [1] * 4 + [2] * 3 + [0] * 9
    # A latent frame of 4 frames at 8 fps lasts half a second.
    expected = [[0, 0, 0], [0, 1, 1], [0.5, 0, 1], [0.5, 1, 0]]
    assert row.positions[:4].tolist() == expected
    np.testing.assert_array_equal(row.tokens[:4], everything.tokens[[0, 3, 5, 6]])
    assert row.given[:4].tolist() == [True, True, False, False]
    assert row.noise_slot_ids[:5].tolist() == [1, 1, 0, 0, 2]
    assert row.grids[0].tolist() == [2, 2, 2]


def test_unpacking_puts_what_was_kept_in_its_place():
    frames = clip((17, 24, 40))
    kept = np.random.default_rng(1).random((5, 3, 5)) < 0.3
    kept[2] = False  # a whole latent frame is missing
    thinned = packing.segment(
        frames, patch=PATCH, fps=24000 / 1001, text_ids=[1], kept=kept, clip_id=7
    )
    packed = pack([*segments(SIZES[1:2]), thinned], row_tokens=75)
    first, second = packing.unpack(packed.tokens, packed, PATCH, fill=99)
    np.testing.assert_array_equal(first, clip(SIZES[1], 0))
    shown = kept.repeat(8, axis=1).repeat(8, axis=2)
    shown = np.concatenate([shown[:1], shown[1:].repeat(4, axis=0)])
    np.testing.assert_array_equal(second[shown], frames[shown])
    assert (second[~shown] == 99).all()


def test_a_slot_whose_clip_is_broken_stays_empty():
    first, second = segments(SIZES[:2])
    packed = pack([])
    row = packing.row_of(packed, 0)
    packing.pack_row([None, first, second], row, patch=PATCH, replaced=[True, True, False])
    assert row.valid.tolist() == [False, True, True]
    assert row.replaced.tolist() == [True, True, False]
    assert row.clip_ids.tolist() == [-1, 100, 101]
    assert row.segment_ids.tolist() == [2] * 8 + [3] * 3 + [0] * 5
    assert row.text_segment_ids.tolist() == [2] * 3 + [3] * 3 + [0] * 6
    clips = packing.unpack(packed.tokens, packed, PATCH, SIZES[:2])
    np.testing.assert_array_equal(clips[1], clip(SIZES[1], 1))
