import jax
import numpy as np
import pytest

from videodit.nn.attention import attention
from videodit.nn.windows import causal_chunk_ids, chunk_of, join, window_ids


def test_the_first_frame_is_a_chunk_of_its_own():
    np.testing.assert_array_equal(chunk_of(np.arange(8), 3), [0, 1, 1, 1, 2, 2, 2, 3])
    np.testing.assert_array_equal(chunk_of(np.arange(4), 1), [0, 1, 2, 3])


@pytest.mark.parametrize("implementation", ["masked", "blocked"])
def test_a_token_sees_its_own_chunk_and_the_one_before(implementation):
    rng = np.random.default_rng(0)
    chunks = np.array([[0, 1, 1, 2, 2, 3, 3, 4, 0, 1, 1, 2, 0]], np.int32)
    segments = np.array([[1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0]], np.int32)
    q, k, v = rng.normal(size=(3, 1, 13, 2, 8)).astype(np.float32)
    ids = causal_chunk_ids(segments, chunks, np.zeros_like(chunks))

    def sees(v):
        return attention(
            q,
            k,
            v,
            query_segment_ids=ids.query,
            key_segment_ids=ids.key,
            implementation=implementation,
        )[0].sum((-1, -2))

    seen = np.asarray(jax.jacobian(sees)(v))[:, 0].any((-1, -2))
    back = chunks[0][:, None] - chunks[0][None]
    expected = (segments[0][:, None] == segments[0][None]) & (back >= 0) & (back <= 1)
    np.testing.assert_array_equal(seen, expected)


def test_windows_tile_the_frame_and_shift_by_half():
    rows, columns = (x.reshape(1, -1).astype(np.float32) for x in np.indices((6, 5)))
    whole = np.zeros_like(rows, bool)
    plain, shifted = (
        np.asarray(window_ids(rows, columns, whole, 4, s)).reshape(6, 5) for s in (False, True)
    )
    corner = lambda ids: {tuple(np.argwhere(ids == i).min(0)) for i in np.unique(ids)}
    assert corner(plain) == {(0, 0), (0, 4), (4, 0), (4, 4)}
    assert corner(shifted) == {(0, 0), (0, 2), (2, 0), (2, 2)}
    assert not np.asarray(window_ids(rows, columns, ~whole, 4, True)).any()


def test_joined_ids_are_equal_where_both_are():
    a, b = np.random.default_rng(0).integers(0, 5, (2, 1, 60)).astype(np.int32)
    same = np.asarray(join(a, b))[0]
    both = (a[0][:, None] == a[0]) & (b[0][:, None] == b[0])
    np.testing.assert_array_equal(same[:, None] == same, both)
