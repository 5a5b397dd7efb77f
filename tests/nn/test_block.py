import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packs import perturb

from videodit.config import ComputeConfig, ConfigError
from videodit.nn.block import REMAT, Block, Conditions, Stack, StackShape, check_shape
from videodit.nn.functional import functional
from videodit.nn.layers import ZEROS
from videodit.nn.rope import rotary
from videodit.nn.segments import Segments

SHAPE = StackShape(depth=3, width=24, heads=4, head_size=8, mlp=48)
COMPUTE = ComputeConfig(dtype="float32", residual_dtype="float32")


def conditions(kind, length=12, slots=4):
    rng = np.random.default_rng(0)
    ids = jnp.asarray(np.sort(rng.integers(0, 3, (2, length))).astype(np.int32))
    shape = (2, slots, 6, 24) if kind == "shared" else (2, slots, 24)
    return Conditions(
        rotary(rng.uniform(0, 9, (2, length, 3)).astype(np.float32), 8),
        Segments(ids),
        jax.nn.one_hot(2 * (ids - 1), slots),
        rng.normal(size=shape).astype(np.float32),
        rng.normal(size=(2, 5, 16)).astype(np.float32),
        Segments(ids, jnp.array([[1, 1, 2, 2, 0]] * 2)),
    )


def make(kind, compute=COMPUTE):
    return functional(lambda rngs: Stack(SHAPE, compute, rngs=rngs, modulation=kind, text_width=16))


@pytest.mark.parametrize("kind", ["block", "shared"])
def test_a_stack_is_its_blocks_one_after_the_other(kind):
    c, x = conditions(kind), np.random.default_rng(1).normal(size=(2, 12, 24)).astype(np.float32)
    init, apply = make(kind)
    params = perturb(init(jax.random.key(0)))
    _, apply_block = functional(
        lambda rngs: Block(SHAPE, COMPUTE, modulation=kind, tables=ZEROS, text_width=16, rngs=rngs)
    )
    y = x
    for i in range(SHAPE.depth):
        y, _ = apply_block(jax.tree.map(lambda p, i=i: p[i], params["blocks"]), y, c, c.segments)
    np.testing.assert_allclose(apply(params, x, c), y, atol=2e-5)


@pytest.mark.parametrize("kind", ["block", "shared"])
def test_conditioned_blocks_are_the_identity_at_init(kind):
    c, x = conditions(kind), np.random.default_rng(1).normal(size=(2, 12, 24)).astype(np.float32)
    if kind == "shared":
        c = c._replace(slots=jnp.zeros_like(c.slots))  # as its zero-initialised layer gives
    init, apply = make(kind)
    np.testing.assert_array_equal(apply(init(jax.random.key(0)), x, c), x)


@pytest.mark.parametrize("remat, unroll", [(remat, 1) for remat in REMAT] + [("products", 3)])
def test_recomputation_does_not_change_gradients(remat, unroll):
    c, x = conditions("block"), np.random.default_rng(1).normal(size=(2, 12, 24)).astype(np.float32)

    def gradients(remat, unroll=1):
        init, apply = make("block", dataclasses.replace(COMPUTE, remat=remat, unroll=unroll))
        return jax.grad(lambda p: jnp.square(apply(p, x, c)).sum())(
            perturb(init(jax.random.key(0)))
        )

    for a, b in zip(jax.tree.leaves(gradients(remat, unroll)), jax.tree.leaves(gradients("block"))):
        np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-4)


def test_what_is_kept_is_not_computed_again():
    c, x = conditions("block"), np.zeros((2, 12, 24), np.float32)

    def products(remat):
        init, apply = make("block", dataclasses.replace(COMPUTE, remat=remat))
        params = jax.eval_shape(init, jax.random.key(0))
        jaxpr = jax.make_jaxpr(jax.grad(lambda p: apply(p, x, c).sum()))(params)
        return str(jaxpr).count(" dot_general[")

    # The table of the modulation is always made again, which is looked up for the tokens.
    assert products("products") == products("none") + 1
    assert products("dots") > products("products")  # those of attention
    assert products("block") > products("attention")


@pytest.mark.parametrize(
    "axis, message",
    [
        ("context", "heads of 4 .* multiple of tensor x context = 8 .*mesh.ring"),
        ("fsdp", "a width of 20 .* multiple of fsdp = 8"),
        ("tensor", "heads of 4 .* tensor x context = 8"),
    ],
)
def test_a_shape_that_the_mesh_cannot_share_is_refused(mesh, axis, message):
    with mesh(**{axis: 8}), pytest.raises(ConfigError, match=message):
        check_shape(SHAPE._replace(width=20))


def test_an_unknown_remat_policy_is_named():
    with pytest.raises(ConfigError, match="did you mean 'block'"):
        make("block", dataclasses.replace(COMPUTE, remat="blok"))
