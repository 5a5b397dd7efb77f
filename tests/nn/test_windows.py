import jax
import numpy as np
import pytest

from videodit.nn import plain_attention
from videodit.nn.attention import attention
from videodit.nn.segments import Segments, with_orders
from videodit.nn.splash import live_blocks
from videodit.nn.windows import causal_chunk_segments, chunk_of, join, window_ids


def test_the_first_frame_is_a_chunk_of_its_own():
    np.testing.assert_array_equal(chunk_of(np.arange(8), 3), [0, 1, 1, 1, 2, 2, 2, 3])
    np.testing.assert_array_equal(chunk_of(np.arange(4), 1), [0, 1, 2, 3])


@pytest.mark.parametrize("implementation", ["masked", "blocked"])
def test_a_token_sees_its_own_chunk_and_the_one_before(implementation):
    rng = np.random.default_rng(0)
    chunks = np.array([[0, 1, 1, 2, 2, 3, 3, 4, 0, 1, 1, 2, 0]], np.int32)
    segments = np.array([[1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0]], np.int32)
    q, k, v = rng.normal(size=(3, 1, 13, 2, 8)).astype(np.float32)
    ids = causal_chunk_segments(segments, chunks, np.zeros_like(chunks))

    def sees(v):
        return attention(q, k, v, Segments(ids.query, ids.key), implementation)[0].sum((-1, -2))

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


def test_blocks_that_are_seen_grow_with_the_duration():
    """Frames of 16 rows of 16 cells, a block each, in windows of half a frame: a row of cells sees
    8 blocks of its own frame and 8 of the one before, so a frame more adds 16 x 16.
    """
    ids = [packed_frames(16, n, 16) for n in (2, 3, 9, 33)]
    seen = [seen_blocks(*(np.asarray(x)[:, :-16] for x in (s.query, s.key))) for s in ids]
    assert [n - seen[0] for n in seen[1:]] == [256, 7 * 256, 31 * 256]


def packed_frames(side, frames, window):
    """Ids of a row with a clip of `frames` frames of side x side cells, then padding."""
    t, rows, columns = (x.reshape(1, -1) for x in np.indices((frames, side, side)))
    segments = np.pad(np.ones_like(t), ((0, 0), (0, 16)))
    t, rows, columns = (np.pad(x, ((0, 0), (0, 16))) for x in (t, rows, columns))
    windows = window_ids(rows, columns, segments == 0, window, shifted=True)
    return causal_chunk_segments(segments, chunk_of(t, 1), windows)


@pytest.mark.parametrize("shape", [{}, {"fsdp": 1, "context": 2, "tensor": 2}])
def test_in_order_of_windows_attention_is_the_same_with_fewer_blocks(mesh, monkeypatch, shape):
    monkeypatch.setattr(plain_attention, "BLOCK", 16)
    ids = packed_frames(side=16, frames=3, window=4)
    rng = np.random.default_rng(0)
    q, k, v, weights = rng.normal(size=(4, 1, ids.key.shape[1], 4, 8)).astype(np.float32)

    def outputs_and_gradients(segments):
        def loss(q, k, v):
            y = attention(q, k, v, segments)
            return (y * weights).sum(), y

        with jax.default_matmul_precision("highest"):
            return jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(q, k, v)

    expected = jax.device_get(outputs_and_gradients(ids))
    with mesh(**shape):
        found = jax.device_get(outputs_and_gradients(with_orders(ids)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)
    order = with_orders(ids).orders[1].forward
    in_order = [np.take_along_axis(x, order, axis=1) for x in (ids.query, ids.key)]
    assert seen_blocks(*in_order) < 0.5 * seen_blocks(ids.query, ids.key)


def seen_blocks(query_ids, key_ids):
    """Pairs of 16 queries and 16 keys of which blocked attention makes logits, over all calls."""
    split = lambda ids, call: ids[0, :, call].reshape(-1, 16)
    calls = range(query_ids.shape[-1])
    return sum(int(live_blocks(split(query_ids, c), split(key_ids, c)).sum()) for c in calls)
