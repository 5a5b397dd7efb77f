import jax
import numpy as np
import pytest
from packs import clip, pack, tiny_config

from videodit.tasks.views import (
    encoder_segment_ids,
    slot_levels,
    token_fractions,
    token_levels,
)

CFG = tiny_config().autoencoder  # chunks of two latent frames


def given(*frames):
    """The mask of clip 0, whose grid is 3 x 3 x 2, with these latent frames given."""
    mask = np.zeros((3, 3, 2), bool)
    mask[list(frames)] = True
    return mask


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 2, 1)])
def test_a_clip_is_one_segment_unless_its_given_tokens_could_see_others(mesh, shape):
    corner = given(0)
    corner[0, 0, 0] = False  # one token of the first chunk is to be generated
    rows = [
        [clip(1), clip(0), clip(2)],  # nothing given
        [clip(1), clip(0, given=given(0)), clip(2)],  # the first chunk
        [clip(1), clip(0, given=given(0, 1)), clip(2)],  # half of the second chunk too
        [clip(1), clip(0, given=given(2)), clip(2)],  # the end
        [clip(1), clip(0, given=given(0, 2)), clip(2)],  # both ends
        [clip(1), clip(0, given=corner), clip(2)],
    ]
    with mesh(*shape):
        batch = pack(rows)
        ids = np.asarray(jax.jit(lambda batch: encoder_segment_ids(batch, CFG))(batch))
    batch = jax.device_get(batch)
    for row, whole in enumerate((True, True, False, False, False, False)):
        clips = [set(ids[row][batch.segment_ids[row] == m]) for m in range(4)]
        assert clips[0] == {0} and len(clips[1]) == len(clips[3]) == 1
        assert len(clips[2]) == (1 if whole else 2)
        assert sum(map(len, clips)) == len(set.union(*clips))  # none is shared
        if not whole:
            here = batch.segment_ids[row] == 2
            parts = [set(ids[row][here & (batch.given[row] == g)]) for g in (False, True)]
            assert len(parts[0]) == len(parts[1]) == 1 and parts[0] != parts[1]


@pytest.mark.parametrize("shape", [{}, {"fsdp": 2, "context": 2}])
def test_slots_have_the_level_of_their_clip_and_given_ones_none(mesh, shape):
    corner = given(0)
    with mesh(**shape):
        batch = pack([[clip(1), clip(0, given=corner)], [clip(2)]], max_segments=3)
        levels = np.float32([[0.3, 0.7, 0.9], [0.5, 0.1, 0.2]])
        slots = jax.jit(slot_levels)(batch, levels)
        tokens = np.asarray(jax.jit(token_levels)(batch, slots))[..., 0]
    expected = [[0.3, 0, 0.7, 0, 0, 0], [0.5, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(np.asarray(slots), np.float32(expected))
    batch = jax.device_get(batch)
    at = np.where(batch.segment_ids > 0, np.take_along_axis(levels, batch.segment_ids - 1, 1), 0)
    np.testing.assert_array_equal(tokens, np.where(batch.given, 0, at))


def test_fractions_are_those_of_the_clips_own_frame():
    batch = pack([[clip(1), clip(0)]])
    here = np.asarray(batch.segment_ids)[0] == 2
    rows, columns = np.meshgrid(np.arange(3), np.arange(2), indexing="ij")
    expected = np.stack([(rows.ravel() + 0.5) / 3, (columns.ravel() + 0.5) / 2], axis=-1)
    got = np.asarray(token_fractions(batch))[0, here]
    np.testing.assert_allclose(got, np.tile(expected, (3, 1)), rtol=1e-6)
