import jax
import numpy as np
import pytest

from videodit.config import ComputeConfig
from videodit.flops import stack_flops
from videodit.nn.block import Conditions, Stack, StackShape
from videodit.nn.functional import functional
from videodit.nn.rope import video_rotary

SHAPE = StackShape(depth=1, width=128, heads=4, head_size=32, mlp=512)


@pytest.mark.parametrize("text", [0, 96])
def test_a_clip_that_fills_its_row_costs_what_the_compiler_counts(text):
    compute = ComputeConfig(dtype="float32", residual_dtype="float32", attention="masked")
    width = 64 if text else None
    init, apply = functional(lambda rngs: Stack(SHAPE, compute, rngs=rngs, text_width=width))
    tokens, ids = np.zeros((1, 256, 128), np.float32), np.ones((1, 256), np.int32)
    rotary = video_rotary(np.zeros((1, 256, 3), np.float32), 32)
    words = (np.zeros((1, text, 64), np.float32), np.ones((1, text), np.int32)) if text else ()
    places = Conditions(rotary, ids, None, None, *words)
    run = jax.jit(lambda params, x: apply(params, x, places))
    counted = run.lower(init(jax.random.key(0)), tokens).compile().cost_analysis()["flops"]
    expected = stack_flops(SHAPE, [256], [text] if text else None, 64)
    # The rest is softmax, norms and rotations.
    assert expected < counted < 1.1 * expected


def test_clips_add_up_and_squares_count():
    assert stack_flops(SHAPE, [100, 50]) == stack_flops(SHAPE, [100]) + stack_flops(SHAPE, [50])
    assert stack_flops(SHAPE, [200]) > 2 * stack_flops(SHAPE, [100])
    deeper = SHAPE._replace(depth=3)
    assert stack_flops(deeper, [7], [3], 64) == pytest.approx(3 * stack_flops(SHAPE, [7], [3], 64))
