"""What cuDNN is given, as pure functions; the kernel itself needs a GPU (nn/kernel_check.py)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videodit.nn import cudnn, kernel_check
from videodit.nn.attention import cudnn_attention
from videodit.nn.plain_attention import masked_attention
from videodit.nn.segments import NO_KEY, NOBODY, Segments
from videodit.nn.windows import causal_chunk_segments, chunk_of


def expected_table(query_ids, key_ids, most):
    """One token after the other: lengths and offsets of the segments in order of their keys."""
    tables = []
    for queries, keys in zip(query_ids.tolist(), key_ids.tolist()):
        columns = []
        for id_ in dict.fromkeys(x for x in keys if x >= 0):
            if id_ in queries:
                sides = [(row.count(id_), row.index(id_)) for row in (queries, keys)]
                columns.append([sides[0][0], sides[1][0], sides[0][1], sides[1][1]])
            else:
                columns.append([-1] * 4)
        columns += [[-1] * 4] * (most + 1 - len(columns))
        tables.append(np.array(columns).T)
    lengths_and_offsets = np.stack(tables, axis=1)
    return *lengths_and_offsets[:2, :, :-1], *lengths_and_offsets[2:]


def packed(*rows):
    return np.array([np.repeat(*zip(*row)) for row in rows], np.int32)


SELF = packed([(1, 3), (2, 1), (3, 5), (0, 3)], [(1, 12)])
TEXT = packed([(1, 2), (NO_KEY, 1), (3, 3), (4, 1), (NO_KEY, 1)], [(2, 3), (1, 5)])
CHUNKS = causal_chunk_segments(
    *(jnp.asarray(x) for x in (SELF, chunk_of(np.arange(12) // 2, 2)[None] + 0 * SELF, 0 * SELF))
)


@pytest.mark.parametrize(
    "query_ids, key_ids",
    [(SELF, SELF), (SELF, TEXT)] + [(CHUNKS.query[..., c], CHUNKS.key[..., c]) for c in (0, 1)],
)
def test_lengths_and_offsets_are_those_of_a_loop(query_ids, key_ids):
    table, complete = cudnn.segment_table(query_ids, key_ids, 9)
    assert complete
    for found, expected in zip(
        table, expected_table(np.asarray(query_ids), np.asarray(key_ids), 9)
    ):
        assert found.dtype == jnp.int32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "query_ids, key_ids, most",
    [
        (SELF, SELF, 3),  # of four segments
        (packed([(1, 2), (2, 2), (1, 2)]), packed([(1, 3), (2, 3)]), 9),
        (packed([(1, 3), (2, 3)]), packed([(1, 2), (2, 2), (1, 2)]), 9),
    ],
)
def test_more_segments_than_promised_and_torn_ones_are_noticed(query_ids, key_ids, most):
    assert not cudnn.segment_table(query_ids, key_ids, most)[1]


def test_a_torn_segment_that_nobody_asks_for_does_not_matter():
    keys = packed([(5, 2), (1, 2), (5, 2)])
    assert cudnn.segment_table(packed([(1, 4), (NOBODY, 2)]), keys, 3)[1]


def test_what_is_of_no_segment_gets_0_and_gives_no_gradient(monkeypatch):
    rubbish = lambda q, k, v, table, causal: jnp.nan * (q + k.sum() + v.sum())
    monkeypatch.setattr(cudnn, "whole_attention", rubbish)
    query_ids, key_ids = packed([(1, 2), (NOBODY, 3)]), packed([(1, 1), (2, 4)])
    table, _ = cudnn.segment_table(query_ids, key_ids, 2)
    run = lambda q, k, v: (jnp.sum(y := cudnn.packed_attention(q, k, v, table)), y)
    gradients, y = jax.grad(run, (0, 1, 2), has_aux=True)(*np.ones((3, 1, 5, 1, 8), np.float32))
    used = [query_ids > 0, query_ids > 0, key_ids == 1, key_ids == 1]
    for x, there in zip((y, *gradients), used):
        np.testing.assert_array_equal(np.isnan(x).all((2, 3)), there)
        np.testing.assert_array_equal(np.asarray(x)[~there], 0)


def _inside(lengths, offsets, length):
    """One-hot segments of the tokens: B L M bool."""
    place, start = jnp.arange(length)[:, None], offsets[:, None, :-1]
    return (start >= 0) & (start <= place) & (place < start + lengths[:, None])


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def emulated(q, k, v, table, causal):
    """The kernel in plain JAX: NaN where it writes nothing, of results and of gradients."""
    return _emulated_forward(q, k, v, table, causal)[0]


def _emulated_forward(q, k, v, table, causal):
    queries = _inside(table.query_lengths, table.query_offsets, q.shape[1])
    keys = _inside(table.key_lengths, table.key_offsets, k.shape[1])
    seen = queries[:, :, None] & keys[:, None]  # B L S M
    if causal:  # places count from the start of a segment, of queries and of keys alike
        starts = table.query_offsets[:, :-1], table.key_offsets[:, :-1]
        place, key_place = (
            jnp.arange(x.shape[1])[:, None] - start[:, None] for x, start in zip((q, k), starts)
        )
        seen &= place[:, :, None] >= key_place[:, None]
    seen = seen.any(-1)[:, None]

    def attend(q, k, v):
        logits = jnp.einsum("blnh,bsnh->bnls", q, k) * q.shape[-1] ** -0.5
        weights = jnp.where(seen, jax.nn.softmax(jnp.where(seen, logits, -1e30)), 0)
        return jnp.einsum("bnls,bsnh->blnh", weights, v)

    y, pull = jax.vjp(attend, q, k, v)
    there = [x.any(-1)[..., None, None] for x in (queries, keys, keys)]
    return jnp.where(there[0], y, jnp.nan), (pull, there)


def _emulated_backward(causal, saved, gradient):
    pull, there = saved
    gradients = pull(jnp.where(there[0], gradient, 0))
    return *(jnp.where(t, g, jnp.nan) for t, g in zip(there, gradients)), None


emulated.defvjp(_emulated_forward, _emulated_backward)


@pytest.mark.parametrize("most, room", [(None, 9), (9, 0), (None, 1)])  # the last goes by blocks
def test_calls_for_even_and_odd_chunks_are_together_the_reference(monkeypatch, most, room):
    monkeypatch.setattr(cudnn, "whole_attention", emulated)
    monkeypatch.setattr(cudnn, "likely_segments", lambda length: room)
    heads = np.random.default_rng(0).normal(size=(4, 2, 12, 3, 8)).astype(np.float32)
    slopes, heads = heads[0], tuple(heads[1:])

    def loss(attend):
        return jax.value_and_grad(lambda heads: (slopes * attend(*heads, segments)).sum())

    segments = dataclasses.replace(CHUNKS, most=most)
    got = loss(cudnn_attention)(heads)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(loss(masked_attention)(heads))):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("most", [None, 5])
def test_a_causal_row_of_whole_segments_is_the_reference(monkeypatch, most):
    monkeypatch.setattr(cudnn, "whole_attention", emulated)
    heads = np.random.default_rng(0).normal(size=(4, 2, 12, 3, 8)).astype(np.float32)
    slopes, heads = heads[0], tuple(heads[1:])
    segments = Segments(SELF, most=most, causal=True).by_call()

    def loss(attend):
        return jax.value_and_grad(lambda heads: (slopes * attend(*heads, segments)).sum())

    expected = jax.tree.leaves(loss(masked_attention)(heads))
    for a, b in zip(jax.tree.leaves(loss(cudnn_attention)(heads)), expected):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_check_before_training_is_of_the_kernel_and_not_of_what_stands_in_for_it():
    for segments in kernel_check._packs(causal=True).values():
        for call in segments.by_call().calls():
            size = call.most or cudnn.likely_segments(call.keys.shape[1])
            assert cudnn.segment_table(call.query, call.keys, size)[1]


@pytest.mark.parametrize("length, room", [(256, 64), (2560, 80), (16384, 256)])
def test_a_table_has_room_for_segments_of_few_tokens(length, room):
    assert cudnn.likely_segments(length) == room


@pytest.mark.parametrize(
    "dtype, size, reason",
    [
        (jnp.bfloat16, 128, ""),
        (jnp.bfloat16, 72, ""),
        (jnp.float32, 128, "16 bits, not float32"),
        (jnp.bfloat16, 12, "multiple of 8 up to 256, not of 12"),
        (jnp.bfloat16, 264, "not of 264"),
    ],
)
def test_heads_that_the_kernel_does_not_take_are_refused(dtype, size, reason):
    refusal = cudnn.refusal(jax.ShapeDtypeStruct((1, 16, 2, size), dtype), Segments(SELF))
    assert (reason in refusal) if reason else refusal == ""


def test_causal_queries_that_follow_a_cache_of_keys_are_refused():
    q = jax.ShapeDtypeStruct((1, 2, 2, 128), jnp.bfloat16)
    cached = Segments(SELF[:1, -2:], SELF[:1], causal=True)
    assert "places from the start of a segment" in cudnn.refusal(q, cached)
    assert cudnn.refusal(q, Segments(SELF[:1], causal=True)) == ""


def test_captions_that_are_left_out_do_not_tear_segments(monkeypatch):
    """Ids of text as tasks/diffusion.py makes them: of a dropped caption only the first token."""
    asked = []
    plain = lambda q, k, v, table, causal: asked.append(table) or jnp.zeros_like(q)
    monkeypatch.setattr(cudnn, "packed_attention", plain)
    text = packed([(1, 1), (0, 2), (2, 3), (3, 1), (0, 5)])
    heads = [jnp.zeros((1, n, 1, 8)) for n in (12, 12, 12)]
    cudnn_attention(*heads, Segments(SELF[:1, :, None], text[..., None], most=4))
    np.testing.assert_array_equal(asked[0].key_lengths, [[1, 3, 1, -1]])
    np.testing.assert_array_equal(asked[0].key_offsets, [[0, 3, 6, -1, -1]])
    np.testing.assert_array_equal(asked[0].query_lengths, [[3, 1, 5, -1]])
    assert cudnn.segment_table(SELF[:1], np.where(text == 0, NO_KEY, text), 4)[1]
