import jax
import numpy as np
import pytest
from packs import clip, pack, tiny_config

from videodit.tasks.views import encoder_segment_ids

CFG = tiny_config().autoencoder  # chunks of two latent frames


def given(*frames):
    """Of clip 0, whose grid is 3 x 3 x 2: these latent frames are given."""
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
