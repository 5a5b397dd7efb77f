import jax
import jax.numpy as jnp
from flax import nnx

from videodit.nn.functional import functional
from videodit.nn.layers import Dense


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
