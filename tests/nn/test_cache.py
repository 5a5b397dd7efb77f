"""A stack that decodes with a cache computes what it computes of whole sequences at once."""

import contextlib
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packs import perturb

from videodit.config import ComputeConfig, ConfigError
from videodit.nn.block import Conditions, Stack, StackShape
from videodit.nn.cache import KeysValues, filled_cache
from videodit.nn.functional import functional
from videodit.nn.rope import rotary
from videodit.nn.segments import NO_KEY, Segments

SHAPE = StackShape(depth=2, width=24, heads=4, head_size=8, mlp=48)
COMPUTE = ComputeConfig(dtype="float32", residual_dtype="float32")
PROMPTS = np.array([[3, 1, 7, 2], [5, 5, 1, 4]])  # tokens of the sequences of two rows
ENDS = np.array([[53, 51, 57, 52], [55, 31, 51, 54]])  # and of the whole sequences; 50 a step more
TEXT_IDS = np.int32([[1, 1, 2, 3, 3, 4], [1, 2, 2, 3, 4, 0]])


class Tokens(NamedTuple):
    """Tokens of a row: values B L D, segment ids and places within the sequence B L."""

    values: np.ndarray
    ids: np.ndarray
    places: np.ndarray


def sequences():
    """Values D of each token of each sequence: rows, sequences, place, D."""
    return np.random.default_rng(0).normal(size=(2, 4, ENDS.max(), 24)).astype(np.float32)


def packed(lengths) -> Tokens:
    """The first tokens of each sequence, one sequence behind the other, then padding."""
    values, room = sequences(), lengths.sum(1).max() + 3
    found = Tokens(np.zeros((2, room, 24), np.float32), *np.zeros((2, 2, room), np.int32))
    for row, counts in enumerate(lengths):
        ids = np.repeat(np.arange(1, 5), counts)
        places = np.concatenate([np.arange(n) for n in counts])
        found.ids[row, : len(ids)], found.places[row, : len(ids)] = ids, places
        found.values[row, : len(ids)] = values[row, ids - 1, places]
    return found


def next_tokens(step: int) -> Tokens:
    """One token of each sequence, or padding where the sequence has ended."""
    places = PROMPTS + step
    there = places < ENDS
    ids = np.where(there, np.arange(1, 5), 0).astype(np.int32)
    values = np.take_along_axis(sequences(), np.minimum(places, ENDS - 1)[..., None, None], 2)
    return Tokens(values[:, :, 0], ids, places.astype(np.int32))


def conditions(tokens: Tokens, text=None) -> Conditions:
    angles = rotary(jnp.asarray(tokens.places, jnp.float32)[..., None], SHAPE.head_size)
    seen = Segments(tokens.ids, TEXT_IDS)
    return Conditions(angles, Segments(tokens.ids, causal=True), text=text, text_segments=seen)


def model(text_width=16):
    init, apply = functional(lambda rngs: Stack(SHAPE, COMPUTE, rngs=rngs, text_width=text_width))
    return perturb(init(jax.random.key(0))), apply


def in_full(params, apply, text):
    """Outputs of whole sequences without a cache: rows, sequences, place, D."""
    tokens = packed(ENDS)
    y = np.asarray(apply(params, tokens.values, conditions(tokens, text)))
    found = np.full_like(sequences(), np.nan)
    for row in range(2):
        ids, places = tokens.ids[row], tokens.places[row]
        found[row, ids[ids > 0] - 1, places[ids > 0]] = y[row, ids > 0]
    return found


@pytest.mark.parametrize("shape", [None, {"data": 2, "tensor": 2}])
def test_fifty_tokens_of_eight_packed_sequences_are_one_program(mesh, shape):
    text = np.random.default_rng(1).normal(size=(2, 6, 16)).astype(np.float32)
    on_mesh = mesh(**shape) if shape else contextlib.nullcontext()
    with jax.default_matmul_precision("highest"), on_mesh:
        params, apply = model()
        expected = in_full(params, apply, text)
        prefill = jax.jit(partial(apply, method="prefill"), static_argnames="room")
        decode = jax.jit(partial(apply, method="decode"), donate_argnums=3)
        prompts, room = packed(PROMPTS), int((ENDS.sum(1)).max())
        y, cache = prefill(params, prompts.values, conditions(prompts, text), room=room)
        there = prompts.ids > 0
        rows = np.nonzero(there)[0]
        first = expected[rows, prompts.ids[there] - 1, prompts.places[there]]
        np.testing.assert_allclose(np.asarray(y)[there], first, atol=1e-5)
        for step in range(50):
            tokens = next_tokens(step)
            y, cache = decode(params, tokens.values, conditions(tokens), cache)
            rows, numbers = np.nonzero(tokens.ids)
            found = np.asarray(y)[rows, numbers]
            after = expected[rows, numbers, tokens.places[rows, numbers]]
            np.testing.assert_allclose(found, after, atol=1e-5)
    assert prefill._cache_size() == decode._cache_size() == 1
    np.testing.assert_array_equal(cache.counts, ENDS.sum(1))


def test_a_row_that_runs_over_says_so_and_the_other_goes_on():
    params, apply = model(text_width=None)
    prompts = packed(PROMPTS)
    plain = lambda tokens: conditions(tokens)._replace(text_segments=None)
    _, cache = apply(params, prompts.values, plain(prompts), room=18, method="prefill")
    np.testing.assert_array_equal(cache.counts, [13, 15])
    nan = []
    for step in range(2):
        tokens = next_tokens(step)
        y, cache = apply(params, tokens.values, plain(tokens), cache, method="decode")
        nan.append(np.isnan(y).all((1, 2)).tolist())
        assert np.isnan(y).any((1, 2)).tolist() == nan[-1]
    assert nan == [[False, True], [True, True]]  # 17 and 19 tokens, then 21 and 23


def test_tokens_take_the_next_places_and_padding_none():
    ids = np.int32([[2, 0, 1, 1], [0, 0, 3, 0]])
    values = np.arange(8, dtype=np.float32).reshape(1, 2, 4, 1, 1)
    cache = filled_cache(KeysValues(values, -values), ids, room=5)
    np.testing.assert_array_equal(cache.counts, [3, 1])
    free = NO_KEY
    expected = [[2, 1, 1, free, free], [3, free, free, free, free]]
    np.testing.assert_array_equal(cache.segment_ids, expected)
    keys = np.asarray(cache.keys_values.keys)[0, :, :, 0, 0]
    np.testing.assert_array_equal(keys, [[0, 2, 3, 0, 0], [6, 0, 0, 0, 0]])
    np.testing.assert_array_equal(cache.keys_values.values, -np.asarray(cache.keys_values.keys))


def test_rows_that_a_mesh_cuts_are_refused(mesh):
    values, ids = np.zeros((1, 2, 4, 8, 1), np.float32), np.ones((2, 4), np.int32)
    with mesh(context=2), pytest.raises(ConfigError, match=r"expected mesh\.ring = mesh\.context"):
        filled_cache(KeysValues(values, values), ids, room=5)
