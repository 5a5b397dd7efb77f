import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from videodit.config import ConfigError
from videodit.nn import splash
from videodit.nn.attention import splash_attention
from videodit.nn.plain_attention import masked_attention
from videodit.nn.ring import merge
from videodit.nn.segments import NO_KEY, NOBODY, Segments


@pytest.mark.parametrize("listed, rows", [(2**16, 2), (1, 1)])  # of a call of the kernel
def test_outputs_and_gradients_equal_the_references(monkeypatch, listed, rows):
    joined, kernel = set(), splash._kernel
    monkeypatch.setattr(splash, "_kernel", lambda *ids: joined.add(len(ids[0])) or kernel(*ids))
    monkeypatch.setattr(splash, "BLOCK", 128)
    monkeypatch.setattr(splash, "MOST_LISTED", listed)
    monkeypatch.setattr(splash, "INTERPRET", pltpu.InterpretParams())
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(2, n, 1, 16)).astype(np.float32) for n in (300, 200, 200, 300)]
    *heads, weights = arrays
    keys = np.sort(rng.integers(0, 5, (2, 200, 1)), axis=1).astype(np.int32).repeat(2, axis=-1)
    queries = np.sort(rng.integers(0, 7, (2, 300)), axis=1)  # 5 and 6 see nothing
    call = rng.integers(0, 2, 300)
    queries = np.stack([np.where(call == c, queries, NOBODY) for c in (0, 1)], -1).astype(np.int32)

    def run(attend):
        def loss(*heads):
            y = attend(*heads, Segments(queries, keys))
            return (y * weights).sum(), y

        with jax.default_matmul_precision("highest"):
            gradients, y = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*heads)
        return y, *gradients

    for found, expected in zip(run(splash_attention), run(masked_attention)):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert joined == {rows}


@pytest.mark.parametrize("queries", [300, 40])  # all tokens, or the last of them
def test_causal_outputs_and_gradients_equal_the_references(monkeypatch, queries):
    monkeypatch.setattr(splash, "BLOCK", 128)
    monkeypatch.setattr(splash, "INTERPRET", pltpu.InterpretParams())
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(2, n, 1, 16)) for n in (queries, 300, 300, queries)]
    *heads, weights = (x.astype(np.float32) for x in arrays)
    ids = np.sort(rng.integers(1, 4, (2, 300))).astype(np.int32)
    ids[1, -20:] = 0  # padding
    key_ids = None if queries == 300 else ids
    segments = Segments(ids[:, -queries:], key_ids, causal=True).by_call()

    def run(attend):
        def loss(*heads):
            y = attend(*heads, segments)
            return (y * weights).sum(), y

        with jax.default_matmul_precision("highest"):
            gradients, y = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*heads)
        return y, *gradients

    for found, expected in zip(run(splash_attention), run(masked_attention)):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_blocks_of_keys_behind_all_queries_are_dead():
    ids = np.ones((2, 4, 8), np.int32)  # a row of one segment, in 4 blocks of 8
    live = np.asarray(splash.live_blocks_of_rows(ids, ids, ahead=0))
    np.testing.assert_array_equal(live, np.tri(4, dtype=bool)[None].repeat(2, axis=0))
    last = np.asarray(splash.live_blocks_of_rows(ids[:, :1], ids, ahead=17))
    np.testing.assert_array_equal(last, [[[True, True, True, True]]] * 2)
    assert not splash.live_blocks_of_rows(ids, ids, ahead=-32).any()  # a later part of a ring


@pytest.mark.parametrize("causal", [False, True])
def test_attention_to_parts_of_the_keys_adds_up_to_the_whole(monkeypatch, causal):
    """What a ring does with its pieces, on one device, of two calls."""
    monkeypatch.setattr(splash, "BLOCK", 128)
    monkeypatch.setattr(splash, "INTERPRET", pltpu.InterpretParams())
    rng = np.random.default_rng(0)
    q, k, v, slope = (rng.normal(size=(2, 256, 1, 16)).astype(np.float32) for _ in range(4))
    ids = np.sort(rng.integers(1, 6, (2, 256))).astype(np.int32)
    ids[1] = np.repeat([1, 2], 128)
    call = np.arange(256) % 2
    query_ids = np.stack([np.where(call == c, ids, NOBODY) for c in (0, 1)], -1).astype(np.int32)
    query_ids[0, 100:110] = NOBODY
    key_ids = np.stack([ids, ids], -1)
    whole = Segments(query_ids, key_ids, causal=causal)
    part = lambda here, there: (
        Segments(query_ids[:, here], key_ids[:, there], causal=causal),
        here.start - there.start,
    )
    halves = [slice(0, 128), slice(128, 256)]

    with jax.default_matmul_precision("highest"):
        expected, gradients = jax.vjp(lambda *heads: masked_attention(*heads, whole), q, k, v)
        dq, dk, dv = gradients(slope)
        forward, backward = (jax.jit(f) for f in splash.PIECES)
        for here in halves:
            parts = [
                forward(q[:, here], k[:, there], v[:, there], *part(here, there))
                for there in halves
            ]
            y, log = merge(*parts)
            np.testing.assert_allclose(y, expected[:, here], atol=1e-5)
            found = [
                backward(
                    *(q[:, here], k[:, there], v[:, there], *part(here, there)),
                    *(y, log, slope[:, here]),
                )
                for there in halves
            ]
            np.testing.assert_allclose(sum(x[0] for x in found), dq[:, here], atol=1e-5)
            for there, (_, more_dk, more_dv) in zip(halves, found):
                dk, dv = dk.at[:, there].add(-more_dk), dv.at[:, there].add(-more_dv)
    np.testing.assert_allclose(dk, 0, atol=1e-5)
    np.testing.assert_allclose(dv, 0, atol=1e-5)


def test_the_kernel_is_not_started_for_keys_that_no_row_sees():
    """It would fail here; and ids of one row may lie between those of another."""
    x = np.ones((2, 64, 1, 16), np.float32)
    nan, log, ids = np.nan * x, x[..., 0], np.int32([[5], [0]]) + np.zeros((2, 64), np.int32)
    segments = Segments(ids, np.int32([[9], [40]]) + 0 * ids).by_call()
    with jax.disable_jit():  # of a conditional, the branch alone that is taken
        y, log_of_none = splash.PIECES.forward(x, nan, nan, segments, 0)
        arguments = (x, nan, nan, segments, 0, x, log, x)
        gradients = splash.PIECES.backward(*arguments)
    np.testing.assert_array_equal(log_of_none, np.float32(-1e30) + 0 * log)
    for zeros in (y, *gradients):
        np.testing.assert_array_equal(zeros, 0 * x)


def test_a_row_too_long_for_the_lists_is_told():
    row = jax.ShapeDtypeStruct((1, 524_288, 1, 16), jnp.bfloat16)
    ids = jax.ShapeDtypeStruct(row.shape[:2], jnp.int32)
    with pytest.raises(ConfigError, match=r"524288 queries .* cut rows by mesh\.ring"):
        jax.eval_shape(splash.splash_attention, row, row, row, Segments(ids))


def test_live_blocks_are_those_with_a_key_that_a_query_sees():
    ids = np.repeat([1, 2, 3, 0], [5, 2, 3, 6])
    live = np.asarray(splash.live_blocks(ids.reshape(-1, 4), ids.reshape(-1, 4)))
    seen = ids[:, None] == ids
    np.testing.assert_array_equal(live, seen.reshape(4, 4, 4, 4).any((1, 3)))
    nobody, no_key = np.full((1, 4), NOBODY), np.full((1, 4), NO_KEY)
    assert not splash.live_blocks(nobody, ids.reshape(-1, 4)).any()
    assert not splash.live_blocks(ids.reshape(-1, 4), no_key).any()


@pytest.mark.parametrize("density", [0, 0.2, 1])
def test_while_a_dead_block_is_passed_the_next_live_one_is_fetched(density):
    live = np.random.default_rng(0).random((3, 4, 5)) < density
    found = np.asarray(splash.next_live(jnp.asarray(live)))
    places = np.flatnonzero(live)
    for i, block in enumerate(found.reshape(-1)):
        behind = places[places >= i]
        expected = behind[0] if len(behind) else places[0] if len(places) else 0
        row, _, column = np.unravel_index(expected, live.shape)
        assert block == row * 5 + column


def test_blocks_are_whole_lanes_and_grow_with_the_row():
    assert [splash.block_size(n) for n in (1, 129, 512, 16_384, 75_776)] == [
        128,
        256,
        512,
        512,
        1024,
    ]
