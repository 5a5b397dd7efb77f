"""Causal segments: a token sees the earlier tokens of its own segment, in every implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videodit.nn import plain_attention
from videodit.nn.attention import attention
from videodit.nn.segments import NO_KEY, Segments, with_orders

LENGTH = 64


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(plain_attention, "BLOCK", 8)


def packed_row(seed=0):
    """Heads B S N H and ids of two rows: segments that cross blocks and parts, then padding."""
    rng = np.random.default_rng(seed)
    heads = [rng.normal(size=(2, LENGTH, 4, 8)).astype(np.float32) for _ in range(3)]
    ids = np.sort(rng.integers(1, 5, (2, LENGTH))).astype(np.int32)
    ids[1, -5:] = 0
    return heads, ids


def one_at_a_time(heads, query_ids, key_ids):
    """In float64, one query after the other; queries are the last of the tokens of the keys."""
    q, k, v = (x.astype(np.float64) for x in heads)
    out, ahead = np.zeros_like(q), k.shape[1] - q.shape[1]
    for b, i, n in np.ndindex(*q.shape[:3]):
        seen = np.flatnonzero(key_ids[b, : i + ahead + 1] == query_ids[b, i])
        logits = k[b, seen, n] @ q[b, i, n] / np.sqrt(q.shape[-1])
        weights = np.exp(logits - logits.max())
        out[b, i, n] = weights @ v[b, seen, n] / weights.sum()
    return out


def run(heads, segments, implementation):
    """Output, and the gradients of q, k and v."""

    def loss(*heads):
        y = attention(*heads, segments, implementation)
        return jnp.square(y).sum(), y

    with jax.default_matmul_precision("highest"):
        gradients, y = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*heads)
    return jax.device_get((y, *gradients))


@pytest.mark.parametrize("implementation", ["masked", "blocked"])
@pytest.mark.parametrize("queries", [LENGTH, 20, 3])  # all tokens, or the last of them
def test_a_query_sees_its_segment_up_to_its_own_place(implementation, queries):
    (q, k, v), ids = packed_row()
    heads, query_ids = (q[:, -queries:], k, v), ids[:, -queries:]
    segments = Segments(query_ids, None if queries == LENGTH else ids, causal=True)
    found = run(heads, segments, implementation)[0]
    np.testing.assert_allclose(found, one_at_a_time(heads, query_ids, ids), atol=1e-6)


def test_gradients_of_blocked_are_those_of_masked():
    heads, ids = packed_row()
    segments = Segments(ids, causal=True)
    for a, b in zip(run(heads, segments, "masked"), run(heads, segments, "blocked")):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("shape", [{"ring": 8}, {"ring": 2, "context": 2, "tensor": 2}])
@pytest.mark.parametrize("queries", [LENGTH, 16])
def test_a_ring_of_devices_computes_what_one_device_does(mesh, shape, queries):
    (q, k, v), ids = packed_row()
    heads = (q[:, -queries:], k, v)
    segments = Segments(ids[:, -queries:], None if queries == LENGTH else ids, causal=True)
    expected = run(heads, segments, "masked")
    with mesh(**shape):
        found = run(heads, segments, "blocked")
    for a, b in zip(expected, found):
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", ["masked", "blocked"])
@pytest.mark.parametrize("shape", [{}, {"context": 4, "fsdp": 2}, {"ring": 4}])
def test_the_future_and_other_segments_change_no_bit(mesh, implementation, shape):
    heads, ids = packed_row()
    at = 37  # of the first row
    changed = [np.array(x) for x in heads]
    for x in changed:
        x[0, at] += 3
    attend = jax.jit(lambda *heads: attention(*heads, Segments(ids, causal=True), implementation))
    with mesh(**shape):
        before, after = (np.asarray(attend(*x)) for x in (heads, changed))
    differs = (before != after).any((2, 3))
    later = (np.arange(LENGTH) >= at) & (ids[0] == ids[0, at])
    np.testing.assert_array_equal(differs[0], later)
    assert not differs[1].any()


def test_blocks_in_the_future_are_skipped():
    """Values there would reach every sum in which they have the weight 0."""
    (q, k, v), _ = packed_row()
    v = np.array(v)
    v[:, 40:48] = np.nan  # a whole block
    segments = Segments(np.ones((2, LENGTH), np.int32), causal=True)
    y = np.asarray(attention(q, k, v, segments, "blocked"))
    np.testing.assert_array_equal(np.isnan(y).any((0, 2, 3)), np.arange(LENGTH) >= 40)


def test_order_within_a_segment_is_that_of_the_row_where_segments_interleave():
    heads, _ = packed_row()
    ids = np.random.default_rng(3).integers(1, 4, (2, LENGTH)).astype(np.int32)
    segments = Segments(ids, causal=True)
    expected = run(heads, segments, "masked")
    for found in (run(heads, s, "blocked") for s in (segments, with_orders(segments))):
        for a, b in zip(expected, found):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_free_places_of_a_cache_are_seen_by_nobody():
    (q, k, v), ids = packed_row()
    q, query_ids, key_ids = q[:, -4:], ids[:, -4:], ids.copy()
    key_ids[:, 30:-4] = NO_KEY
    filled = np.r_[0:30, LENGTH - 4 : LENGTH]
    found = run((q, k, v), Segments(query_ids, key_ids, causal=True), "blocked")[0]
    packed = (q, k[:, filled], v[:, filled])
    expected = run(packed, Segments(query_ids, ids[:, filled], causal=True), "masked")[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_causal_queries_need_at_least_as_many_keys():
    (q, k, v), ids = packed_row()
    segments = Segments(ids, ids[:, :10], causal=True)
    with pytest.raises(ValueError, match="expected at least 64 keys, not 10"):
        attention(q, k[:, :10], v[:, :10], segments)


def test_segments_of_another_row_are_refused():
    (q, k, v), ids = packed_row()
    with pytest.raises(ValueError, match=r"\(10, 10\) queries and keys: expected \(64, 64\)"):
        attention(q, k, v, Segments(ids[:, :10]))
