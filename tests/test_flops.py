import jax
import numpy as np
import pytest

from videodit.config import ComputeConfig
from videodit.flops import (
    RECOMPUTED,
    Clips,
    Flops,
    Forward,
    all_pairs,
    chunk_pairs,
    stack_flops,
)
from videodit.nn.block import REMAT, Conditions, Stack, StackShape
from videodit.nn.functional import functional
from videodit.nn.rope import video_rotary
from videodit.nn.segments import Segments
from videodit.nn.windows import causal_chunk_segments, chunk_of, window_ids

SHAPE = StackShape(depth=1, width=128, heads=4, head_size=32, mlp=512)


@pytest.mark.parametrize("text", [0, 96])
def test_a_clip_that_fills_its_row_costs_what_the_compiler_counts(text):
    compute = ComputeConfig(dtype="float32", residual_dtype="float32", attention="masked")
    width = 64 if text else None
    init, apply = functional(lambda rngs: Stack(SHAPE, compute, rngs=rngs, text_width=width))
    tokens, ids = np.zeros((1, 256, 128), np.float32), np.ones((1, 256), np.int32)
    rotary = video_rotary(np.zeros((1, 256, 3), np.float32), 32)
    words = np.zeros((1, text, 64), np.float32)
    seen = Segments(ids, np.ones((1, text), np.int32))
    places = Conditions(rotary, Segments(ids), text=words, text_segments=seen)
    run = jax.jit(lambda params, x: apply(params, x, places))
    counted = run.lower(init(jax.random.key(0)), tokens).compile().cost_analysis()["flops"]
    expected = sum(stack_flops(SHAPE, [256], [256**2], [text] if text else None, 64))
    # The rest is softmax, norms and rotations.
    assert expected < counted < 1.1 * expected


def test_clips_add_up_and_squares_count():
    flops = lambda *tokens: sum(stack_flops(SHAPE, tokens, all_pairs(tokens)))
    assert flops(100, 50) == flops(100) + flops(50)
    assert flops(200) > 2 * flops(100)
    one = stack_flops(SHAPE, [7], [49], [3], 64)
    three = stack_flops(SHAPE._replace(depth=3), [7], [49], [3], 64)
    assert three == pytest.approx(tuple(3 * x for x in one))


def seen(grid, chunk, window, shifted):
    """The mask n n (bool) of cells, in reading order t, h, w, by the ids of a layer."""
    frames, rows, columns = (x.reshape(1, -1) for x in np.indices(grid))
    whole = np.full(frames.shape, grid[1] * grid[2] <= window**2)
    windows = window_ids(rows, columns, whole, window, shifted)
    ids = causal_chunk_segments(np.ones_like(frames), chunk_of(frames, chunk), windows)
    return np.asarray(ids.query[0, :, None] == ids.key[0, None]).any(-1)


def clip_of(grid, tokens=None):
    tokens = np.prod(grid) if tokens is None else tokens
    return Clips(np.array([grid]), np.array([tokens]), np.array([0]))


@pytest.mark.parametrize(
    "grid, chunk, window",
    [
        ((1, 4, 5), 2, 5),
        ((2, 4, 4), 3, 3),
        ((3, 5, 4), 1, 4),
        ((8, 9, 13), 2, 4),
        ((7, 3, 40), 3, 5),
    ],
)
def test_pairs_of_the_autoencoder_are_those_of_its_ids(grid, chunk, window):
    even, odd = (seen(grid, chunk, window, shifted).sum() for shifted in (False, True))
    for depth, expected in ((1, even), (3, (2 * even + odd) / 3), (4, (even + odd) / 2)):
        np.testing.assert_allclose(chunk_pairs(clip_of(grid), chunk, window, depth), [expected])


def test_dropped_tokens_take_their_pairs_with_them():
    grid, rng = (3, 6, 5), np.random.default_rng(0)
    pairs, drawn = seen(grid, 2, 4, False), []
    for _ in range(2000):
        kept = rng.choice(len(pairs), 30, replace=False)
        drawn.append(pairs[np.ix_(kept, kept)].sum())
    error = np.std(drawn) / len(drawn) ** 0.5
    (expected,) = chunk_pairs(clip_of(grid, tokens=30), 2, 4, depth=1)
    assert abs(np.mean(drawn) - expected) < 4 * error < 0.02 * expected


def test_what_is_computed_again_is_not_useful():
    forward = Forward(matmuls=10.0, attention=1.0)
    assert forward.only() == Flops(11, 11)
    assert forward.trained("none") == Flops(33, 33)
    assert forward.trained("block") == Flops(33, 44)
    assert forward.trained("dots") == Flops(33, 34)
    assert forward.trained("block", backward=1) + Flops(1, 2) * 2 == Flops(24, 37)
    assert set(RECOMPUTED) == set(REMAT)


def test_remat_computes_again_what_the_compiler_counts():
    tokens, ids = np.zeros((1, 256, 128), np.float32), np.ones((1, 256), np.int32)
    places = Conditions(video_rotary(np.zeros((1, 256, 3), np.float32), 32), Segments(ids))

    def counted(remat):
        compute = dict(dtype="float32", residual_dtype="float32", attention="masked", remat=remat)
        shape = SHAPE._replace(depth=3)  # a loop over layers, whose body counts once
        init, apply = functional(lambda rngs: Stack(shape, ComputeConfig(**compute), rngs=rngs))
        gradient = jax.jit(jax.grad(lambda params: apply(params, tokens, places).sum()))
        return gradient.lower(init(jax.random.key(0))).compile().cost_analysis()["flops"]

    assert counted("block") / counted("none") == pytest.approx(4 / 3, rel=0.03)
