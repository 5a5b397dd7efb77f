import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from videodit.nn.functional import functional
from videodit.nn.layers import Dense
from videodit.sharding import spec


class Twice(nnx.Module):
    def __init__(self, *, rngs):
        self.dense = Dense(3, 3, (None, None), rngs=rngs)

    def __call__(self, x):
        return self.dense(self.dense(x, None, None), None, None)

    def once(self, x, *, scale):
        return scale * self.dense(x, None, None)


def test_init_gives_plain_dicts_and_apply_any_method():
    init, apply = functional(lambda rngs: Twice(rngs=rngs))
    params = init(jax.random.key(0))
    kernel = params["dense"]["kernel"]
    assert type(params) is dict and isinstance(kernel, jax.Array) and kernel.dtype == jnp.float32
    x = jnp.ones((2, 3))
    assert jnp.allclose(apply(params, x), x @ kernel @ kernel, atol=1e-6)
    assert jnp.allclose(apply(params, x, method="once", scale=2.0), 2 * x @ kernel, atol=1e-6)


def test_apply_computes_in_the_asked_dtype():
    init, apply = functional(lambda rngs: Twice(rngs=rngs), "bfloat16")
    params = init(jax.random.key(0))
    assert params["dense"]["kernel"].dtype == jnp.float32
    assert apply(params, jnp.ones((2, 3))).dtype == jnp.bfloat16


class Hidden(nnx.Module):
    def __init__(self, *, rngs):
        self.up = Dense(16, 32, ("embed", "mlp"), rngs=rngs)
        self.down = Dense(32, 16, ("mlp", "embed"), rngs=rngs)

    def __call__(self, x):
        return self.down(jax.nn.relu(self.up(x, "batch", "mlp")), "batch", "act_embed")


def test_parameters_gathered_once_give_the_same_gradients_sharded_as_they_are(mesh):
    def run(gather):
        init, apply = functional(lambda rngs: Hidden(rngs=rngs), "float32", gather)
        params = jax.jit(init)(jax.random.key(0))
        x = jnp.ones((8, 16), out_sharding=spec("batch", None))
        loss = lambda params: jnp.square(apply(params, x)).sum()
        return params, jax.jit(jax.grad(loss))(params)

    with mesh(fsdp=4, tensor=2):
        params, expected = run("layer")
        _, got = run("step")
    for param, a, b in zip(*map(jax.tree.leaves, (params, expected, got))):
        assert b.sharding == param.sharding and not b.sharding.is_fully_replicated
        np.testing.assert_allclose(a, b, rtol=1e-5)
